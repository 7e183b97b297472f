"""The words of this project as frozen dataclasses. Plain data: no I/O, no torch, no database.

Names, units and layouts: `_s` seconds, `_bytes` bytes, `thwc` = (frames, height, width, channels). Identity is made of
content: hashes here are SHA-256 over canonical JSON (sorted keys, no spaces), so that they survive restarts,
languages and machines.
"""

from nightreel.domain.identity import content_hash
from nightreel.domain.memory import MemoryNeed, MemoryPeak, MemoryRequest, MemoryStage
from nightreel.domain.prompts import (
    GREEDY,
    MOST_SCORED_NUMBERS,
    WORDING_VERSION,
    Answer,
    AnswerState,
    Decoding,
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
    Claim,
    EncodedChunk,
    EncodedSegment,
    Outcome,
    OutcomeState,
    SegmentAnswers,
)

__all__ = [
    "GREEDY",
    "MOST_SCORED_NUMBERS",
    "WORDING_VERSION",
    "Answer",
    "AnswerState",
    "AnsweredChunk",
    "Claim",
    "Decoding",
    "EncodedChunk",
    "EncodedSegment",
    "FeatureRef",
    "Features",
    "FrameBatch",
    "MemoryNeed",
    "MemoryPeak",
    "MemoryRequest",
    "MemoryStage",
    "Outcome",
    "OutcomeState",
    "PlanKind",
    "Prompt",
    "PromptKind",
    "PromptSet",
    "SamplingPlan",
    "Segment",
    "SegmentAnswers",
    "StoredObject",
    "StoredTensor",
    "Video",
    "content_hash",
]
