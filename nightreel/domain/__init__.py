"""The terms of this project as frozen dataclasses. Plain data: no I/O, no torch, no database.

Names, units and layouts: `_s` seconds, `_bytes` bytes, `thwc` = (frames, height, width, channels). Content defines
identity: hashes here are SHA-256 over canonical JSON (sorted keys, no spaces), so that they are equal across restarts,
languages and machines.
"""

from nightreel.domain.answers import Answer, AnswerState, Window, bare
from nightreel.domain.differences import EVERYTHING, Touched, touched
from nightreel.domain.identity import content_hash
from nightreel.domain.judging import TIE, judge, probability
from nightreel.domain.memory import MemoryPeak, MemoryRequest, MemoryRequirement, MemoryStage, QueuedRequest
from nightreel.domain.notes import Note, Notes
from nightreel.domain.policies import MIN_COVERAGE, Band, LookAgain, Policy, Review, RollUp, RollUpKind
from nightreel.domain.prompts import BothVerdicts, Prompt, PromptSet, largest_plan
from nightreel.domain.questions import (
    GREEDY,
    MOST_SCORED_NUMBERS,
    WORDING_VERSION,
    GenerationOptions,
    Language,
    Level,
    PromptKind,
    Question,
)
from nightreel.domain.rolling import SegmentVerdict, VideoVerdict, roll_up, roll_ups_of
from nightreel.domain.second_looks import combined, second_look_is_due
from nightreel.domain.structures import KEYWORDS, Field, FieldType
from nightreel.domain.tombstones import TombstoneKey
from nightreel.domain.verdicts import UNSURE, Verdict, VerdictState, saw, too_little
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
    SecondLook,
    SegmentAnswers,
    VideoEnd,
    WholeAnswers,
)

__all__ = [
    "EVERYTHING",
    "GREEDY",
    "KEYWORDS",
    "MIN_COVERAGE",
    "MOST_SCORED_NUMBERS",
    "TIE",
    "UNSURE",
    "WORDING_VERSION",
    "Answer",
    "AnswerState",
    "AnsweredChunk",
    "Band",
    "BothVerdicts",
    "ChunkCounts",
    "Claim",
    "EncodedChunk",
    "EncodedSegment",
    "EndedVideo",
    "FeatureRef",
    "Features",
    "Field",
    "FieldType",
    "FrameBatch",
    "GenerationOptions",
    "Language",
    "Level",
    "LookAgain",
    "MemoryPeak",
    "MemoryRequest",
    "MemoryRequirement",
    "MemoryStage",
    "Note",
    "Notes",
    "Outcome",
    "OutcomeState",
    "PlanKind",
    "Policy",
    "Prompt",
    "PromptKind",
    "PromptSet",
    "Question",
    "QueuedRequest",
    "Review",
    "RollUp",
    "RollUpKind",
    "SamplingPlan",
    "SecondLook",
    "Segment",
    "SegmentAnswers",
    "SegmentVerdict",
    "StoredObject",
    "StoredTensor",
    "TombstoneKey",
    "Touched",
    "Verdict",
    "VerdictState",
    "Video",
    "VideoEnd",
    "VideoVerdict",
    "WholeAnswers",
    "Window",
    "bare",
    "combined",
    "content_hash",
    "judge",
    "largest_plan",
    "probability",
    "roll_up",
    "roll_ups_of",
    "saw",
    "second_look_is_due",
    "too_little",
    "touched",
]
