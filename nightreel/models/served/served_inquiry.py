"""The open questions of one segment to a model on a server: which can be sent now, and what came back.

`remote` keeps one ServedInquiry for each segment. The shortest question is sent first, and alone: the others then find
the frames in the server's caches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nightreel.domain import Answer, Prompt
from nightreel.errors import NightreelError
from nightreel.models.answering import unmeasured
from nightreel.models.inquiry import Inquiry
from nightreel.models.served.completions import Completion, to_answer
from nightreel.models.served.layouts import Shown
from nightreel.prompts.wording import texts_of


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """One text of a question, and the prompt that asks it."""

    prompt: Prompt
    place: int
    text: str


@dataclass(slots=True, kw_only=True)
class ServedInquiry(Inquiry):
    """A segment, and its open questions.

    Args:
        shown: its frames, as the server is shown them.
        kept: answers from failed calls.
        running: number of questions that are sent and not answered yet.
        warm: whether the server has seen the frames.
        refusals: the errors of the prompts that the server refused.
    """

    shown: Shown
    kept: Mapping[tuple[str, str], Answer]
    queue: deque[ServedRequest] = field(default_factory=deque)
    replies: dict[Prompt, dict[int, Completion]] = field(default_factory=dict)
    running: int = 0
    warm: bool = False
    refusals: dict[Prompt, NightreelError] = field(default_factory=dict)

    def next(self) -> ServedRequest | None:
        """A question that can be asked now, or None."""
        # conditions are decided once all earlier questions are answered
        while not self.queue and not self.running:
            ready = self.take_ready()
            if not ready:
                return None
            for prompt in ready:
                answer = self.kept.get((self.shown.name, prompt.question.hash))
                if answer:
                    self.record(answer)
                else:
                    texts = enumerate(texts_of(prompt.question))
                    self.queue.extend(ServedRequest(prompt, place, text) for place, text in texts)
        if not self.queue or (self.running and not self.warm):
            return None
        self.running += 1
        chosen = self.queue[0] if self.warm else min(self.queue, key=_most_tokens)
        self.queue.remove(chosen)
        return chosen

    def replied(self, question: ServedRequest, reply: Completion) -> None:
        self.running -= 1
        self.warm = True
        if question.prompt in self.refusals:
            return
        replies = self.replies.setdefault(question.prompt, {})
        replies[question.place] = reply
        if len(replies) == len(texts_of(question.prompt.question)):
            in_order = [replies[place] for place in range(len(replies))]
            self.record(to_answer(question.prompt.question, in_order))

    def refused(self, question: ServedRequest, error: NightreelError) -> None:
        """Record that the question has no answer, and drop its other texts."""
        self.running -= 1
        prompt = question.prompt
        if prompt not in self.refusals:
            self.refusals[prompt] = error
            self.queue = deque(other for other in self.queue if other.prompt != prompt)
            self.record(unmeasured(prompt.question, f"the server did not answer: {error.detail}", tokens=0))

    def take_failure(self) -> NightreelError | None:
        """The error of the segment if the server refused all of its prompts; its answers are dropped."""
        refused = {one.name for prompt in self.refusals for one in self.asked[prompt.question.hash]}
        if not refused or self.known.keys() - refused:
            return None
        self.answers.clear()
        return next(iter(self.refusals.values()))

    def abandon(self) -> None:
        """Drop all questions of this segment that are not sent yet."""
        self.waiting = []
        self.queue.clear()


def _most_tokens(request: ServedRequest) -> int:
    """The most tokens of the reply."""
    question = request.prompt.question
    return 1 if question.kind.scored else question.max_new_tokens


def next_requests(inquiries: Sequence[ServedInquiry], free: int) -> list[tuple[ServedInquiry, ServedRequest]]:
    """The next questions, at most `free`: earlier segments first, because the server has seen their frames."""
    chosen: list[tuple[ServedInquiry, ServedRequest]] = []
    for inquiry in inquiries:
        while len(chosen) < free:
            question = inquiry.next()
            if question is None:
                break
            chosen.append((inquiry, question))
    return chosen
