"""The state of one segment's prompts: ready to ask, waiting for an answer, answered.

`local` and `remote` keep one Inquiry per segment. Each question is asked once, however many prompts ask it. This module
does not depend on models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from nightreel.domain import Answer, AnswerState, Prompt, Verdict, VerdictState, judge


class Seen(NamedTuple):
    """Seconds of a segment that were seen, and that it should have. Conditions depend on them: see `judge`."""

    covered_s: float = 0.0
    expected_s: float = 0.0


_WHOLE = Seen()


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """The waiting prompts and the answers so far.

    Args:
        known: verdicts by prompt name, including those of earlier runs: `when` conditions are checked against them.
        seen: of the segment.
        asked: the prompts that ask a question, by its hash, from the moment when it is ready.
    """

    waiting: list[Prompt]
    known: dict[str, Verdict]
    seen: Seen = _WHOLE
    answers: list[Answer] = field(default_factory=list)
    asked: dict[str, list[Prompt]] = field(default_factory=dict)

    def take_ready(self) -> list[Prompt]:
        """Remove and return the prompts that can be asked now; drop those whose condition can no longer hold.

        Of several prompts that ask one question, one is returned, and all get its answer.
        """
        given = {answer.question_hash: answer for answer in self.answers}
        while True:
            ready = self._take_due()
            answered = [prompt for prompt in ready if prompt.question.hash in given]
            for prompt in answered:
                self._judge(prompt, given[prompt.question.hash])
            new = []
            for prompt in ready:
                if prompt in answered:
                    continue
                asking = self.asked.setdefault(prompt.question.hash, [])
                if not asking:
                    new.append(prompt)
                asking.append(prompt)
            if new or not answered:
                return new

    def put_back(self, prompt: Prompt) -> None:
        """Make a prompt from `take_ready` wait again."""
        self.waiting[:0] = self.asked.pop(prompt.question.hash)

    def snapshot(self) -> tuple[list[Prompt], dict[str, Verdict], list[Answer], dict[str, list[Prompt]]]:
        asked = {key: list(prompts) for key, prompts in self.asked.items()}
        return list(self.waiting), dict(self.known), list(self.answers), asked

    def restore(self, state: tuple[list[Prompt], dict[str, Verdict], list[Answer], dict[str, list[Prompt]]]) -> None:
        self.waiting, self.known, self.answers, self.asked = state

    def record(self, answer: Answer) -> None:
        answer = replace(answer, covered_s=self.seen.covered_s, expected_s=self.seen.expected_s)
        for prompt in self.asked.get(answer.question_hash, ()):
            self._judge(prompt, answer)
        self.answers.append(answer)

    def in_order(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers in the order of `prompts`, one per question.

        An error beside usable answers concerns this question alone: it becomes unmeasured. If all answers are errors,
        the model or the segment is at fault: they stay errors, which fail the video.
        """
        order = {prompt.question.hash: place for place, prompt in reversed(list(enumerate(prompts)))}
        usable = any(verdict.state is not VerdictState.ERROR for verdict in self.known.values())
        given = [_unmeasured(answer) if usable else answer for answer in self.answers]
        return sorted(given, key=lambda answer: order[answer.question_hash])

    def _judge(self, prompt: Prompt, answer: Answer) -> None:
        self.known[prompt.name] = judge(prompt.question, answer, prompt.policy)

    def _take_due(self) -> list[Prompt]:
        names = {prompt.name for prompt in self.waiting}
        names |= {prompt.name for asking in self.asked.values() for prompt in asking if prompt.name not in self.known}
        ready, blocked = [], []
        for prompt in self.waiting:
            states = [self._holds(name, wanted, names) for name, wanted in prompt.policy.when]
            if all(states):
                ready.append(prompt)
            elif False not in states:
                blocked.append(prompt)
        self.waiting = blocked
        return ready

    def _holds(self, name: str, wanted: str, open_names: set[str]) -> bool | None:
        """Whether an earlier prompt has the wanted answer; None if it is not answered yet."""
        verdict = self.known.get(name)
        if verdict is None:
            return None if name in open_names else False
        return verdict.says(wanted)


def _unmeasured(answer: Answer) -> Answer:
    return replace(answer, state=AnswerState.UNMEASURED) if answer.state is AnswerState.ERROR else answer
