"""Data that tasks exchange: claims, outcomes, and chunks of references. Small and picklable, never tensors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from nightreel.domain.answers import Answer
from nightreel.domain.notes import Note, Notes
from nightreel.domain.policies import LookAgain
from nightreel.domain.verdicts import VerdictState
from nightreel.domain.videos import FeatureRef, Segment, Video
from nightreel.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run's temporary hold on one analysis.

    Args:
        first_segment: > 0 continues a long video.
        failed_before: an earlier attempt under this recipe failed.
        alone: a run died while it held this video, so this run must work on nothing else until the video is written.
        known: the cache has small features of it: a chunk takes more of these (`domain.chunks`).
    """

    analysis_id: int
    video: Video
    attempt: int
    first_segment: int = 0
    failed_before: bool = False
    alone: bool = False
    known: bool = False


class OutcomeState(StrEnum):
    DONE = "done"
    PARTLY_DONE = "partly_done"  # some segments failed for good, the others have all their answers
    REUSED = "reused"  # same bytes under another key: answers copied, nothing computed
    DEFERRED = "deferred"  # another claim is analysing the same bytes: back to pending
    CONTINUES = "continues"  # a long video with segments left
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one claim. Failures are data: they never stop other videos.

    Args:
        segments: number of segments of the video; None if it failed before it was probed.
        transient: a later retry may succeed.
    """

    analysis_id: int
    state: OutcomeState
    segments: int | None = None
    reason: Reason | None = None
    detail: str | None = None
    transient: bool = False

    def __post_init__(self) -> None:
        failed = self.state in (OutcomeState.FAILED, OutcomeState.PARTLY_DONE)
        assert failed == (self.reason is not None), self


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What a window is part of: a segment that is looked at again."""

    segment: Segment
    look: LookAgain


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSegment:
    """A segment whose features are in the cache, or a window of one.

    Args:
        second_look: of a window; None for a segment.
        covered_s: seconds of the segment that its good frames cover; None if a version without this measure cached it.
        thumbnail_uri: a small picture of its frames, for people.
        vector: for search by meaning, float16 (width,); None if it is not made now.
    """

    analysis_id: int
    video_id: int
    segment: Segment
    feature: FeatureRef
    pts_s: tuple[float, ...]
    damaged_frames: int
    covered_s: float | None
    decoder: str
    decoder_version: str
    thumbnail_uri: str | None = None
    second_look: SecondLook | None = None
    vector: bytes | None = field(default=None, repr=False)

    @property
    def whole(self) -> Segment:
        """The segment itself, or the one that the window is part of."""
        return self.second_look.segment if self.second_look else self.segment


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """The result of `encode` and the input of `ask`: references, never tensors.

    Args:
        outcomes: one per claim of the chunk.
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
class WholeAnswers:
    """The answers to questions about a whole video that were asked over the same notes.

    Args:
        sums: what the model made of the parts of notes that are longer than it is given at a time.
    """

    analysis_id: int
    video_id: int
    notes: Notes
    sums: tuple[Note, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredChunk:
    """The result of `ask` and the input of `write`.

    Args:
        whole: of videos whose segments had all their answers before.
    """

    answered: tuple[SegmentAnswers, ...]
    whole: tuple[WholeAnswers, ...] = ()


class VideoEnd(StrEnum):
    """How a claim ended, as counted in metrics."""

    DONE = "done"
    PARTLY_DONE = "partly_done"
    REUSED = "reused"
    FAILED = "failed"
    QUARANTINED = "quarantined"  # it failed, with no attempts left
    RETRIED = "retried"  # it failed, and is pending again
    DEFERRED = "deferred"
    GIVEN_BACK = "given_back"  # the host is at fault: it is pending again, and not charged
    CONTINUES = "continues"
    LOST = "lost"  # the claim expired, and another run has the analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedVideo:
    """How the claim of one video ended, and why if it failed. `failed_before`: as of its claim."""

    analysis_id: int
    uri: str
    end: VideoEnd
    failed_before: bool = False
    reason: Reason | None = None
    detail: str | None = None

    @classmethod
    def of(cls, claim: Claim, end: VideoEnd, outcome: Outcome) -> EndedVideo:
        return cls(
            analysis_id=claim.analysis_id,
            uri=claim.video.uri,
            end=end,
            failed_before=claim.failed_before,
            reason=outcome.reason,
            detail=outcome.detail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCounts:
    """What the write stage wrote for one chunk.

    Args:
        videos: number of claims, by how they ended.
        ended: the claims of this run that ended, in the order of the chunk.
        reasons: number of failed and quarantined videos, by reason. partly_done: the same of partly done videos.
        covered_s, expected_s: seconds of the answered videos that were seen, and that they should have.
        little_seen: number of answered videos whose coverage is below the least for a "no".
        unfinished: claims of videos with more to ask, because of what was answered: second looks and follow-ups.
        segments: number of segments whose answers were written. verdicts: number of the verdicts
            on them, by prompt set and state.
    """

    videos: Counter[VideoEnd] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    partly_done: Counter[Reason] = field(default_factory=Counter)
    segments: int = 0
    verdicts: Counter[tuple[str, VerdictState]] = field(default_factory=Counter)
    ended: tuple[EndedVideo, ...] = ()
    covered_s: float = 0.0
    expected_s: float = 0.0
    little_seen: int = 0
    unfinished: tuple[Claim, ...] = ()
