"""What crosses task boundaries: claims, outcomes, and chunks of references. Small and picklable, never tensors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from nightreel.domain.prompts import Answer, AnswerState
from nightreel.domain.videos import FeatureRef, Segment, Video
from nightreel.reasons import Reason


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
    reason: Reason | None = None
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


class VideoEnd(StrEnum):
    """How a claim ended, as it is counted."""

    DONE = "done"
    REUSED = "reused"
    FAILED = "failed"
    QUARANTINED = "quarantined"  # it failed as often as it may be tried
    RETRIED = "retried"  # it failed, and is pending again
    DEFERRED = "deferred"
    CONTINUES = "continues"
    LOST = "lost"  # its lease ran out, and another run has it


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCounts:
    """What the write stage wrote of one chunk.

    Args:
        videos: claims by how they ended.
        reasons: failed and quarantined videos by reason.
        segments: segments whose answers were written. answers: these answers by state.
    """

    videos: Counter[VideoEnd] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    segments: int = 0
    answers: Counter[AnswerState] = field(default_factory=Counter)
