"""The words of this project as frozen dataclasses. Plain data: no I/O, no torch, no database.

Names, units and layouts: `_s` seconds, `_bytes` bytes, `thwc` = (frames, height, width, channels). Identity is made of
content: hashes here are SHA-256 over canonical JSON (sorted keys, no spaces), so that they survive restarts,
languages and machines.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np

from nightreel.errors import SettingsError


def content_hash(value: Any) -> str:
    """SHA-256 (hex) over the canonical JSON of `value`.

    >>> content_hash({"b": 1, "a": [2.5, None]}) == content_hash({"a": [2.5, None], "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# -- videos ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One entry of an object listing."""

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One version of one object: the row `(uri, etag)` of table `videos`."""

    id: int
    uri: str
    etag: str
    size_bytes: int


# -- sampling ----------------------------------------------------------------------------------------------------


class PlanKind(StrEnum):
    UNIFORM = "uniform"
    FPS = "fps"
    KEYFRAMES = "keyframes"


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Which moments of a video are looked at, and how it is cut into segments.

    Args:
        kind: `uniform` takes `frames` moments spread evenly; `fps` takes `rate` a second, at most `frames`;
            `keyframes` takes the stream's own keyframes, at most `frames`.
        frames: number of frames a segment (uniform), or the cap (fps, keyframes).
        rate: frames a second, `fps` alone.
        window_s: length of a segment in seconds.

    >>> SamplingPlan.parse("fps:2:32")
    SamplingPlan(kind=<PlanKind.FPS: 'fps'>, frames=32, rate=2.0, window_s=30.0)
    >>> str(SamplingPlan.parse("uniform:8"))
    'uniform:8'
    """

    kind: PlanKind
    frames: int
    rate: float | None = None
    window_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= 1024:
            raise SettingsError(f"a sampling plan takes 1 to 1024 frames a segment, got {self.frames}")
        if (self.kind is PlanKind.FPS) != (self.rate is not None):
            raise SettingsError(f"a rate belongs to plan fps:RATE:CAP alone, got {self.kind}:{self.rate}")
        if self.rate is not None and not (math.isfinite(self.rate) and 0 < self.rate <= 60):
            raise SettingsError(f"an fps plan takes more than 0 and at most 60 frames a second, got {self.rate}")
        if not (math.isfinite(self.window_s) and 1 <= self.window_s <= 3600):
            raise SettingsError(f"a segment lasts 1 to 3600 seconds, got {self.window_s}")

    @classmethod
    def parse(cls, text: str, window_s: float = 30.0) -> SamplingPlan:
        """`uniform:N`, `fps:RATE:CAP` or `keyframes:CAP`.

        Raises:
            SettingsError: on any other text.
        """
        kind, *numbers = text.strip().split(":")
        try:
            match kind, numbers:
                case (("uniform" | "keyframes"), [frames]):
                    return cls(PlanKind(kind), int(frames), None, window_s)
                case "fps", [rate, cap]:
                    return cls(PlanKind.FPS, int(cap), float(rate), window_s)
        except ValueError:
            pass
        raise SettingsError(f"sampling plan {text!r}: expected uniform:N, fps:RATE:CAP or keyframes:CAP")

    def __str__(self) -> str:
        rate = "" if self.rate is None else f":{self.rate:g}"
        return f"{self.kind}{rate}:{self.frames}"

    @property
    def hash(self) -> str:
        return content_hash(asdict(self))


@dataclass(frozen=True, slots=True)
class Segment:
    """A window of a video: `start_s <= t < end_s`, on the clock on which the first frame shown is at 0."""

    index: int
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBatch:
    """The frames sampled from one segment.

    Args:
        frames_thwc: uint8 RGB, upright, (T, H, W, 3).
        pts_s: float64 (T,), the true presentation time of each frame on the segment's clock, ascending.
        flags: one tuple of words a frame, empty when the frame is good: `corrupt`, `concealed`, `missing`.
        decoder: `decord` or `pyav`; decoder_version: its version.
        fps: average frames a second of the source; source_hw: its height and width before any resizing, upright.
    """

    frames_thwc: np.ndarray = field(repr=False)
    pts_s: np.ndarray
    flags: tuple[tuple[str, ...], ...]
    decoder: str
    decoder_version: str
    fps: float
    source_hw: tuple[int, int]

    def __post_init__(self) -> None:
        shape = self.frames_thwc.shape
        assert self.frames_thwc.dtype == np.uint8, f"{self.frames_thwc.dtype = }"
        assert len(shape) == 4, f"{shape = }"
        assert shape[3] == 3, f"{shape = }"
        assert len(self.pts_s) == len(self.flags) == shape[0] > 0, f"{shape = }, {len(self.pts_s) = }"


# -- features ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as bytes, because numpy has no bfloat16.

    `dtype` is torch's name without its prefix ("bfloat16"); `data` is row-major, little-endian.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the vision tower said of one segment, and all that the language side needs to read it.

    Args:
        key: the feature key of design.md, hex SHA-256.
        tensors: encoder outputs, and processor outputs other than pixels; names are unique.
        pts_s: presentation time of each frame, seconds.
        metadata: small JSON values (decoder, versions, source size) that make the file readable on its own.
    """

    key: str
    tensors: tuple[StoredTensor, ...]
    pts_s: tuple[float, ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRef:
    """Where features lie, and the proof that they are unharmed: the row of table `features`."""

    key: str
    uri: str
    size_bytes: int
    sha256: str


# -- prompts and answers -----------------------------------------------------------------------------------------


WORDING_VERSION = 1
"""Version of the instructions that `nightreel.prompts.wording` adds to a prompt's text: part of every prompt hash."""


class PromptKind(StrEnum):
    CAPTION = "caption"
    TEXT = "text"
    YES_NO = "yes_no"
    NUMBER = "number"
    CHOICE = "choice"
    TAGS = "tags"

    @property
    def scored(self) -> bool:
        """Whether the answer is read from next-token scores rather than generated and parsed."""
        return self in (PromptKind.YES_NO, PromptKind.CHOICE, PromptKind.TAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How a text is generated, token by token. The default is greedy: always the likeliest token.

    Args:
        temperature: above 0, tokens are drawn at random from probabilities sharpened (< 1) or flattened (> 1) by it.
        top_k: draw from the k likeliest tokens alone; 0 for all.
        top_p: draw from the likeliest tokens that together hold this share.
        seed: of the draws.
        repetition_penalty: above 1, tokens that stand in prompt or text already become less likely.
        beams: keep so many texts in work and take the likeliest.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    repetition_penalty: float = 1.0
    beams: int = 1


GREEDY = Decoding()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question of a prompt set.

    Args:
        threshold: yes_no and tags: the probability from which the answer is "yes".
        flag: the answer that an analyst should see ("yes", or a choice); None flags nothing.
        min_mass: `unknown` when the allowed answers hold less of the next-token probability than this.
        min_margin: `unknown` when the best answer leads the next by less than this.
        when: names of earlier prompts of the set and the answer each must have had.
        minimum, maximum: number: the range outside of which an answer is `unknown`.
        decoding: caption, text and number: how tokens are chosen.
        set_name: the prompt set it came with.
    """

    name: str
    kind: PromptKind
    text: str
    choices: tuple[str, ...] = ()
    max_new_tokens: int = 64
    threshold: float = 0.5
    flag: str | None = None
    min_mass: float = 0.0
    min_margin: float = 0.0
    when: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    decoding: Decoding = GREEDY
    set_name: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the answer is drawn at random: another segment with the same bytes would have its own."""
        return not self.kind.scored and self.decoding.temperature > 0

    @property
    def hash(self) -> str:
        """Identity of the question: what is asked and how it is read. Names, flag and condition do not count."""
        return content_hash(
            {
                "wording": WORDING_VERSION,
                "kind": self.kind,
                "text": self.text,
                "choices": self.choices,
                "max_new_tokens": None if self.kind.scored else self.max_new_tokens,
                "threshold": self.threshold if self.kind in (PromptKind.YES_NO, PromptKind.TAGS) else None,
                "min_mass": self.min_mass,
                "min_margin": self.min_margin,
                "range": [self.minimum, self.maximum],
                "decoding": None if self.kind.scored else asdict(self.decoding),
            }
        )


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts asked together, in order. Names are unique."""

    name: str
    prompts: tuple[Prompt, ...]

    def __add__(self, other: PromptSet) -> PromptSet:
        """Both sets as one, in order.

        Raises:
            SettingsError: a name that both use for different questions: one of them must be renamed.
        """
        own = {prompt.name: prompt for prompt in self.prompts}
        for prompt in other.prompts:
            clash = own.get(prompt.name)
            if clash is not None:
                raise SettingsError(
                    f"prompt {prompt.name!r} is in set {clash.set_name or self.name!r} and in set "
                    f"{prompt.set_name or other.name!r}: rename one of them, so that answers can be told apart"
                )
        return PromptSet(f"{self.name}+{other.name}", self.prompts + other.prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def missing(self, given: Mapping[str, Answer]) -> tuple[Prompt, ...]:
        """The prompts still to be asked of a segment that has these answers (by prompt hash).

        A follow-up counts as long as its condition holds or is not decided yet.
        """
        said = {prompt.name: given[prompt.hash].text for prompt in self.prompts if prompt.hash in given}
        return tuple(
            prompt
            for prompt in self.prompts
            if prompt.hash not in given and all(said.get(name, answer) == answer for name, answer in prompt.when)
        )


class AnswerState(StrEnum):
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One prompt's answer about one segment. Never does a failure become a "no".

    Args:
        text: the answer as words: the caption, "yes", the choice, tags joined by ", "; None unless answered.
        value: the same, typed: bool, float, str or list of str; None unless answered.
        p: probability of the answer among the allowed ones; of "yes" for yes_no; None where nothing was scored.
        scores: probability of each allowed answer.
        reason: why it is unknown or an error.
    """

    prompt_hash: str
    state: AnswerState
    text: str | None = None
    value: bool | float | str | list[str] | None = None
    p: float | None = None
    scores: Mapping[str, float] | None = None
    reason: str | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0

    def __post_init__(self) -> None:
        assert (self.state is AnswerState.ANSWERED) == (self.value is not None), self
        assert (self.state is AnswerState.ANSWERED) == (self.reason is None), self


# -- what crosses task boundaries --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to do one analysis until its lease ends. `first_segment` > 0 goes on with a long video."""

    analysis_id: int
    video: Video
    attempt: int
    first_segment: int = 0


class OutcomeState(StrEnum):
    DONE = "done"
    REUSED = "reused"  # same bytes under another key: answers copied, nothing computed
    DEFERRED = "deferred"  # the same bytes are being worked on elsewhere: back to pending
    CONTINUES = "continues"  # a long video, more segments to come
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one claimed video went. Failures are data: they never stop the others.

    Args:
        segments: how many the video has; known unless it failed before it was probed.
        transient: trying again later may help.
    """

    analysis_id: int
    state: OutcomeState
    segments: int | None = None
    reason: str | None = None
    detail: str | None = None
    transient: bool = False

    def __post_init__(self) -> None:
        assert (self.state is OutcomeState.FAILED) == (self.reason is not None), self


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSegment:
    """A segment whose features are in the cache. `thumbnail_uri`: its frames as a small picture, for people."""

    analysis_id: int
    video_id: int
    segment: Segment
    feature: FeatureRef
    pts_s: tuple[float, ...]
    damaged_frames: int
    decoder: str
    decoder_version: str
    from_cache: bool
    thumbnail_uri: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """What `encode` hands to `ask`: references, never tensors.

    Args:
        outcomes: one for each claim of the chunk.
        rest: claims of videos whose next segments belong to another chunk.
    """

    segments: tuple[EncodedSegment, ...]
    outcomes: tuple[Outcome, ...]
    rest: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentAnswers:
    segment: EncodedSegment
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredChunk:
    """What `ask` hands to `write`."""

    answered: tuple[SegmentAnswers, ...]
