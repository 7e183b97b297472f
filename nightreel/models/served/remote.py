"""A model on an OpenAI-compatible server (vLLM, SGLang, ...): VideoModel out of `served`, `pictures` and `replies`.

What it caches as features is the frames as JPEG: a new question costs no download and no decoding. Each question is a
request. The first one of a segment goes alone, the others follow once it is answered, so that they find the frames in
the server's prefix cache; meanwhile other segments are asked, up to `remote_concurrency` requests at once.

`loading.load_model` makes one. It decides what is asked when; the modules it uses know how.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import PIL

from nightreel.domain import Answer, Features, FrameBatch, MemoryPeak, Prompt, PromptKind, Segment
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.models.base import ModelSpec
from nightreel.models.inquiry import Inquiry
from nightreel.models.served import jpeg_frames
from nightreel.models.served.completions import Completion, read_completion, to_answer
from nightreel.models.served.identity import CHAT, connect
from nightreel.prompts.wording import questions_of
from nightreel.reasons import Reason
from nightreel.settings import Settings

logger = logging.getLogger(__name__)

_CANDIDATES = (20, 5, 0)  # first tokens to be listed: OpenAI's limit, what some servers lower it to, none
_YES_NO_TOKENS = 8  # as a rule the word and the end of the turn; more shows that it goes on
_NUMBER_TOKENS = 16  # for numbers that a local model would score, whose prompts say nothing of tokens
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>|</?s>|<(?:image|video|IMG_CONTEXT)>|</?img>")
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
        # by feature key and prompt hash, of calls that failed: the caller asks again, segment by segment
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
        known: Sequence[Mapping[str, Answer]] | None = None,
    ) -> list[list[Answer]]:
        for prompt in {prompt for prompts in questions for prompt in prompts}:
            _check(prompt)
        inquiries = [
            _Inquiry(
                waiting=list(prompts),
                known=dict(known[i] if known else {}),
                key=one.key,
                parts=self._conversation(one),
                kept=self._kept,
            )
            for i, (one, prompts) in enumerate(zip(features, questions, strict=True))
        ]
        try:
            self._ask_all(inquiries)
        except NightreelError:
            self._keep(inquiries)
            raise
        for inquiry in inquiries:
            for answer in inquiry.answers:
                self._kept.pop((inquiry.key, answer.prompt_hash), None)
        return [one.in_order(prompts) for one, prompts in zip(inquiries, questions, strict=True)]

    def take_peaks(self) -> list[MemoryPeak]:
        """None: the server minds its own memory."""
        return []

    def _conversation(self, features: Features) -> list[dict[str, Any]]:
        if features.metadata.get("model") != self.spec.identity:
            raise PermanentError(
                Reason.STALE_FEATURE,
                f"features {features.key[:12]} were made for {features.metadata.get('model')}, "
                f"this model is {self.spec.identity}: encode the segment again",
            )
        return jpeg_frames.conversation(features)

    def _ask_all(self, inquiries: Sequence[_Inquiry]) -> None:
        """Ask until nothing is waiting. What is wrong with one segment is raised when the others are through."""
        stop = threading.Event()
        running: dict[Future[Completion], tuple[_Inquiry, _Question]] = {}
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
                        except NightreelError as error:
                            failed = failed or error
                            if error.reason is Reason.MODEL_REFUSED:
                                inquiry.abandon()
                                continue
                            stop.set()
                            for one in inquiries:
                                one.abandon()
            finally:
                stop.set()
        if failed:
            raise failed

    def _request(self, parts: list[dict[str, Any]], question: _Question, stop: threading.Event) -> Completion:
        candidates = self._candidates if question.prompt.kind.scored else 0
        body = {
            "model": self.spec.name,
            "messages": jpeg_frames.with_question(parts, question.text),
            **_decoding(question.prompt),
            **({"logprobs": True, "top_logprobs": candidates} if candidates else {}),
        }
        try:
            return read_completion(self._endpoint.post(CHAT, body, stop=stop))
        except PermanentError as error:
            if not candidates or error.reason is not Reason.MODEL_REFUSED or "logprob" not in error.detail:
                raise
            fewer = next(number for number in _CANDIDATES if number < candidates)
            if self._candidates > fewer:
                logger.warning("asking for %d candidates a token instead of %d: %s", fewer, candidates, error)
                self._candidates = fewer
            return self._request(parts, question, stop)

    def _keep(self, inquiries: Sequence[_Inquiry]) -> None:
        for inquiry in inquiries:
            for answer in inquiry.answers:
                self._kept[inquiry.key, answer.prompt_hash] = answer
        while len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]


@dataclass(frozen=True, slots=True)
class _Question:
    """One of the questions that a prompt stands for."""

    prompt: Prompt
    place: int
    text: str


@dataclass(slots=True, kw_only=True)
class _Inquiry(Inquiry):
    """A segment, and its questions on their way.

    Args:
        parts: the message before the question.
        kept: answers of a call that failed.
        running: questions that the server is at.
        warm: whether the server has seen the frames.
    """

    key: str
    parts: list[dict[str, Any]]
    kept: Mapping[tuple[str, str], Answer]
    queue: deque[_Question] = field(default_factory=deque)
    replies: dict[Prompt, dict[int, Completion]] = field(default_factory=dict)
    running: int = 0
    warm: bool = False

    def next(self) -> _Question | None:
        """A question that can be asked now, if there is one."""
        # a condition is decided when all that was asked before is answered
        while not self.queue and not self.running:
            ready = self.take_ready()
            if not ready:
                return None
            for prompt in ready:
                answer = self.kept.get((self.key, prompt.hash))
                if answer:
                    self.record(prompt, answer)
                else:
                    texts = enumerate(questions_of(prompt))
                    self.queue.extend(_Question(prompt, place, text) for place, text in texts)
        if not self.queue or (self.running and not self.warm):
            return None
        self.running += 1
        return self.queue.popleft()

    def replied(self, question: _Question, reply: Completion) -> None:
        self.running -= 1
        self.warm = True
        replies = self.replies.setdefault(question.prompt, {})
        replies[question.place] = reply
        if len(replies) == len(questions_of(question.prompt)):
            in_order = [replies[place] for place in range(len(replies))]
            self.record(question.prompt, to_answer(question.prompt, in_order))

    def abandon(self) -> None:
        """Ask nothing more of this segment."""
        self.waiting = []
        self.queue.clear()


def _next(inquiries: Sequence[_Inquiry], free: int) -> list[tuple[_Inquiry, _Question]]:
    """What to ask with so many requests to spare: first of segments that the server has seen already."""
    chosen: list[tuple[_Inquiry, _Question]] = []
    for inquiry in inquiries:
        while len(chosen) < free:
            question = inquiry.next()
            if question is None:
                break
            chosen.append((inquiry, question))
    return chosen


def _check(prompt: Prompt) -> None:
    """Refuse what a server would misread or cannot do."""
    for question in questions_of(prompt):
        found = _SPECIAL_TOKEN.search(question)
        if found:
            raise SettingsError(f"the question {question!r} contains {found.group()!r}, a special token: reword it")
    if not prompt.kind.scored and prompt.decoding.beams > 1:
        raise SettingsError(f"prompt {prompt.name}: a model on a server searches no beams: remove `beams`")


def _decoding(prompt: Prompt) -> dict[str, Any]:
    """How tokens are to be chosen. What a prompt does not ask for is not sent: not all servers know all of it."""
    if prompt.kind.scored:
        # no word has more tokens than bytes
        longest = max((len(choice.encode()) for choice in prompt.choices), default=0)
        return {"temperature": 0, "max_tokens": _YES_NO_TOKENS + (longest if prompt.kind is PromptKind.CHOICE else 0)}
    wanted = prompt.decoding
    max_tokens = _NUMBER_TOKENS if prompt.numbers else prompt.max_new_tokens
    parameters: dict[str, Any] = {"temperature": wanted.temperature, "max_tokens": max_tokens}
    if wanted.temperature:
        parameters |= {"top_p": wanted.top_p, "seed": wanted.seed % 2**31}
        parameters |= {"top_k": wanted.top_k} if wanted.top_k else {}
    if wanted.repetition_penalty != 1:
        parameters["repetition_penalty"] = wanted.repetition_penalty
    return parameters
