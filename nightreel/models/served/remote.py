"""A model on an OpenAI-compatible server (vLLM, SGLang, ...): implements VideoModel.

Its features are the frames as JPEG, so that a new question needs no download and no decoding. Each question is one
request. The first question of a segment is sent alone; the others follow after its answer, so that they find the
frames in the server's prefix cache. Meanwhile other segments are asked, with up to `remote_concurrency` requests in
parallel.

`loading.load_model` makes one. This module decides the order of requests. `jpeg_frames`, `chat_endpoint` and
`completions` make, send and read them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import PIL

from nightreel.domain import (
    Answer,
    Features,
    FrameBatch,
    MemoryPeak,
    Note,
    Prompt,
    PromptKind,
    Question,
    Segment,
    Verdict,
    content_hash,
)
from nightreel.errors import NightreelError, PermanentError
from nightreel.models.answering import unmeasured
from nightreel.models.base import ModelSpec
from nightreel.models.inquiry import Inquiry, Seen
from nightreel.models.served import jpeg_frames
from nightreel.models.served.completions import Completion, read_completion, to_answer
from nightreel.models.served.identity import CHAT, connect
from nightreel.models.served.questions import require_askable, without_special_tokens
from nightreel.models.served.structured import response_format
from nightreel.prompts.wording import before_question, texts_of
from nightreel.reasons import Reason
from nightreel.settings import Settings

logger = logging.getLogger(__name__)

_CANDIDATES = (20, 5, 0)  # first tokens to list: OpenAI's limit, the lower limit of some servers, none
_YES_NO_TOKENS = 8  # usually the word and the end of the turn; more tokens show that the text continues
_NUMBER_TOKENS = 16  # for numbers that a local model would score, whose prompts set no number of tokens
_MAX_KEPT = 10_000


class RemoteModel:
    """A model on a server. See `base.VideoModel`.

    Args:
        settings: those named `remote_*`, and `model`.
        spec: its identity, from `identity.describe_served`.

    Raises:
        SettingsError: as `identity.connect`.
    """

    def __init__(self, settings: Settings, spec: ModelSpec) -> None:
        self._endpoint = connect(settings)
        self.spec = spec
        self.frame_size: int | None = settings.remote_frame_size
        self._quality = settings.remote_jpeg_quality
        self._concurrency = settings.remote_concurrency
        self._candidates = _CANDIDATES[0]
        self._has_answered = False
        # answers from failed calls, by feature key and question: the caller asks again, segment by segment
        self._kept: dict[tuple[str, str], Answer] = {}

    def close(self) -> None:
        """Close the connections to the server."""
        self._endpoint.close()

    def encode(
        self, batches: Sequence[FrameBatch], *, segments: Sequence[Segment], keys: Sequence[str]
    ) -> list[Features]:
        assert self.frame_size
        return [
            Features(
                key=key,
                tensors=jpeg_frames.to_jpegs(batch, short_side=self.frame_size, quality=self._quality),
                pts_s=tuple(batch.pts_s.tolist()),
                metadata={
                    "model": self.spec.identity,
                    "segment": [segment.index, segment.start_s, segment.end_s],
                    "decoder": batch.decoder,
                    "decoder_version": batch.decoder_version,
                    "source_hw": list(batch.source_hw),
                    "pillow_version": PIL.__version__,
                },
            )
            for batch, segment, key in zip(batches, segments, keys, strict=True)
        ]

    def ask(
        self,
        features: Sequence[Features],
        questions: Sequence[Sequence[Prompt]],
        *,
        known: Sequence[Mapping[str, Verdict]] | None = None,
        seen: Sequence[Seen] | None = None,
    ) -> list[list[Answer]]:
        inquiries = [
            _Inquiry(
                waiting=list(prompts),
                known=dict(known[i] if known else {}),
                seen=seen[i] if seen else Seen(),
                key=one.key,
                parts=self._conversation(one),
                kept=self._kept,
            )
            for i, (one, prompts) in enumerate(zip(features, questions, strict=True))
        ]
        return self._ask(inquiries, questions)

    def ask_over_notes(
        self, notes: Sequence[Sequence[Note]], questions: Sequence[Sequence[Prompt]], *, seen: Sequence[Seen]
    ) -> list[list[Answer]]:
        texts = [before_question(own) for own in notes]
        inquiries = [
            _Inquiry(
                waiting=list(prompts),
                known={},
                seen=seen[i],
                key=content_hash(text),
                parts=[{"type": "text", "text": without_special_tokens(text)}],
                kept=self._kept,
            )
            for i, (text, prompts) in enumerate(zip(texts, questions, strict=True))
        ]
        return self._ask(inquiries, questions)

    def _ask(self, inquiries: Sequence[_Inquiry], questions: Sequence[Sequence[Prompt]]) -> list[list[Answer]]:
        require_askable({prompt: None for prompts in questions for prompt in prompts})
        try:
            self._ask_all(inquiries)
        except NightreelError:
            self._keep(inquiries)
            raise
        for inquiry in inquiries:
            for answer in inquiry.answers:
                self._kept.pop((inquiry.key, answer.question_hash), None)
        return [one.in_order(prompts) for one, prompts in zip(inquiries, questions, strict=True)]

    def take_peaks(self) -> list[MemoryPeak]:
        """Return no peaks: the server manages its own memory."""
        return []

    def _conversation(self, features: Features) -> list[dict[str, Any]]:
        if features.metadata.get("model") != self.spec.identity:
            raise PermanentError(
                Reason.STALE_FEATURE,
                f"features {features.key[:12]} were made for {features.metadata.get('model')}, "
                f"but this model is {self.spec.identity}: encode the segment again",
            )
        return jpeg_frames.conversation(features)

    def _ask_all(self, inquiries: Sequence[_Inquiry]) -> None:
        """Ask until no prompt is waiting.

        A question that the server refuses is unknown. If it refuses all questions of a segment, the segment failed: its
        error is raised after the others finish.
        """
        stop = threading.Event()
        running: dict[Future[Completion], tuple[_Inquiry, _Request]] = {}
        failed: NightreelError | None = None
        with ThreadPoolExecutor(self._concurrency, "ask") as pool:
            try:
                while True:
                    for inquiry, question in _next(inquiries, self._concurrency - len(running)):
                        future = pool.submit(self._request, inquiry.parts, question, stop)
                        running[future] = inquiry, question
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        inquiry, question = running.pop(future)
                        try:
                            inquiry.replied(question, future.result())
                            self._has_answered = True
                        except NightreelError as error:
                            if self._concerns_one_question(error):
                                inquiry.refused(question, error)
                                continue
                            failed = failed or error
                            stop.set()
                            for one in inquiries:
                                one.abandon()
            finally:
                stop.set()
        refused = [inquiry.take_failure() for inquiry in inquiries]
        failed = failed or next(filter(None, refused), None)
        if failed:
            raise failed

    def _concerns_one_question(self, error: NightreelError) -> bool:
        """Whether the server refused or garbled one question, so that it may answer the others."""
        if error.reason is Reason.MODEL_PROTOCOL:
            return self._has_answered  # else it is a server of another kind
        return error.reason is Reason.MODEL_REFUSED

    def _request(self, parts: list[dict[str, Any]], question: _Request, stop: threading.Event) -> Completion:
        candidates = self._candidates if question.prompt.question.kind.scored else 0
        body = {
            "model": self.spec.name,
            "messages": jpeg_frames.with_question(parts, question.text),
            **_decoding(question.prompt.question),
            **response_format(question.prompt.question),
            **({"logprobs": True, "top_logprobs": candidates} if candidates else {}),
        }
        try:
            return read_completion(self._endpoint.post(CHAT, body, stop=stop))
        except PermanentError as error:
            if not candidates or error.reason is not Reason.MODEL_REFUSED or "logprob" not in error.detail:
                raise
            fewer = next(number for number in _CANDIDATES if number < candidates)
            if self._candidates > fewer:
                logger.warning("requesting %d candidates per token instead of %d: %s", fewer, candidates, error)
                self._candidates = fewer
            return self._request(parts, question, stop)

    def _keep(self, inquiries: Sequence[_Inquiry]) -> None:
        for inquiry in inquiries:
            refused = {prompt.question.hash for prompt in inquiry.refusals}
            for answer in inquiry.answers:
                if answer.question_hash not in refused:
                    self._kept[inquiry.key, answer.question_hash] = answer
        while len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]


@dataclass(frozen=True, slots=True)
class _Request:
    """One text of a question, and the prompt that asks it."""

    prompt: Prompt
    place: int
    text: str


@dataclass(slots=True, kw_only=True)
class _Inquiry(Inquiry):
    """A segment, and its open questions.

    Args:
        parts: the message before the question.
        kept: answers from failed calls.
        running: number of questions that are sent and not answered yet.
        warm: whether the server has seen the frames.
        refusals: the errors of the prompts that the server refused.
    """

    key: str
    parts: list[dict[str, Any]]
    kept: Mapping[tuple[str, str], Answer]
    queue: deque[_Request] = field(default_factory=deque)
    replies: dict[Prompt, dict[int, Completion]] = field(default_factory=dict)
    running: int = 0
    warm: bool = False
    refusals: dict[Prompt, NightreelError] = field(default_factory=dict)

    def next(self) -> _Request | None:
        """A question that can be asked now, or None."""
        # conditions are decided once all earlier questions are answered
        while not self.queue and not self.running:
            ready = self.take_ready()
            if not ready:
                return None
            for prompt in ready:
                answer = self.kept.get((self.key, prompt.question.hash))
                if answer:
                    self.record(answer)
                else:
                    texts = enumerate(texts_of(prompt.question))
                    self.queue.extend(_Request(prompt, place, text) for place, text in texts)
        if not self.queue or (self.running and not self.warm):
            return None
        self.running += 1
        return self.queue.popleft()

    def replied(self, question: _Request, reply: Completion) -> None:
        self.running -= 1
        self.warm = True
        if question.prompt in self.refusals:
            return
        replies = self.replies.setdefault(question.prompt, {})
        replies[question.place] = reply
        if len(replies) == len(texts_of(question.prompt.question)):
            in_order = [replies[place] for place in range(len(replies))]
            self.record(to_answer(question.prompt.question, in_order))

    def refused(self, question: _Request, error: NightreelError) -> None:
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


def _next(inquiries: Sequence[_Inquiry], free: int) -> list[tuple[_Inquiry, _Request]]:
    """The next questions, at most `free`: earlier segments first, because the server has seen their frames."""
    chosen: list[tuple[_Inquiry, _Request]] = []
    for inquiry in inquiries:
        while len(chosen) < free:
            question = inquiry.next()
            if question is None:
                break
            chosen.append((inquiry, question))
    return chosen


def _decoding(question: Question) -> dict[str, Any]:
    """The parameters that choose tokens: only those that the question sets, because few servers know all of them."""
    if question.kind.scored:
        # a word has at most as many tokens as bytes
        longest = max((len(choice.encode()) for choice in question.choices), default=0)
        return {"temperature": 0, "max_tokens": _YES_NO_TOKENS + (longest if question.kind is PromptKind.CHOICE else 0)}
    wanted = question.decoding
    max_tokens = _NUMBER_TOKENS if question.numbers else question.max_new_tokens
    parameters: dict[str, Any] = {"temperature": wanted.temperature, "max_tokens": max_tokens}
    if wanted.temperature:
        parameters |= {"top_p": wanted.top_p, "seed": wanted.seed % 2**31}
        parameters |= {"top_k": wanted.top_k} if wanted.top_k else {}
    if wanted.repetition_penalty != 1:
        parameters["repetition_penalty"] = wanted.repetition_penalty
    return parameters
