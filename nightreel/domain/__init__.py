"""The terms of this project as frozen dataclasses. Plain data: no I/O, no torch, no database.

Names, units and layouts: `_s` seconds, `_bytes` bytes, `thwc` = (frames, height, width, channels). Content defines
identity: hashes here are SHA-256 over canonical JSON (sorted keys, no spaces), so that they are equal across restarts,
languages and machines.
"""

from nightreel.domain.identity import content_hash
from nightreel.domain.judging import MIN_COVERAGE, judge, saw, too_little
from nightreel.domain.memory import MemoryPeak, MemoryRequest, MemoryRequirement, MemoryStage, QueuedRequest
from nightreel.domain.prompts import (
    GREEDY,
    MOST_SCORED_NUMBERS,
    ONE_NAME,
    WORDING_VERSION,
    Answer,
    AnswerState,
    GenerationOptions,
    Prompt,
    PromptKind,
    PromptSet,
)
from nightreel.domain.videos import (
    FeatureRef,
    Features,
    FrameBatch,
    PlanKind,
    SamplingPlan,
    Segment,
    StoredObject,
    StoredTensor,
    Video,
)
from nightreel.domain.work import (
    AnsweredChunk,
    ChunkCounts,
    Claim,
    EncodedChunk,
    EncodedSegment,
    EndedVideo,
    Outcome,
    OutcomeState,
    SegmentAnswers,
    VideoEnd,
)

__all__ = [
    "GREEDY",
    "MIN_COVERAGE",
    "MOST_SCORED_NUMBERS",
    "ONE_NAME",
    "WORDING_VERSION",
    "Answer",
    "AnswerState",
    "AnsweredChunk",
    "ChunkCounts",
    "Claim",
    "EncodedChunk",
    "EncodedSegment",
    "EndedVideo",
    "FeatureRef",
    "Features",
    "FrameBatch",
    "GenerationOptions",
    "MemoryPeak",
    "MemoryRequest",
    "MemoryRequirement",
    "MemoryStage",
    "Outcome",
    "OutcomeState",
    "PlanKind",
    "Prompt",
    "PromptKind",
    "PromptSet",
    "QueuedRequest",
    "SamplingPlan",
    "Segment",
    "SegmentAnswers",
    "StoredObject",
    "StoredTensor",
    "Video",
    "VideoEnd",
    "content_hash",
    "judge",
    "saw",
    "too_little",
]
