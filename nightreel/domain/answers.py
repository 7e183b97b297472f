"""Answers: what a model measured, whole, without any decision. `judging` makes verdicts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_AROUND_WORDS = " \t\r\n.,;:!\"'`*()[]。，！"


class AnswerState(StrEnum):
    MEASURED = "measured"
    UNMEASURED = "unmeasured"  # asked, but the reply says nothing: refused, withheld, empty
    ERROR = "error"  # the model failed: asked again


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one question about one segment.

    Args:
        text: what the model wrote, trimmed; None if nothing was generated.
        scores: the probability of each allowed answer, which sum to 1; for tags, that of "yes" for each tag.
        mass: the next-token probability that the allowed answers hold together; for tags, of each tag's yes and no;
            None: not known.
        bounds: for each score, the least and the greatest value it can have, if a server does not list all tokens.
        reason: why it is not measured.
        covered_s, expected_s: seconds of the segment that were seen, and that it should have.
        look: of a second look, what identifies it (`LookAgain.key`); else empty.
        windows: of a second look, what was measured in each window. The rest combines them (`second_looks`).
    """

    question_hash: str
    state: AnswerState = AnswerState.MEASURED
    text: str | None = None
    scores: Mapping[str, float] | None = None
    mass: float | Mapping[str, float] | None = None
    bounds: Mapping[str, tuple[float, float]] | None = None
    reason: str | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0
    covered_s: float = 0.0
    expected_s: float = 0.0
    look: str = ""
    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        measured = self.state is AnswerState.MEASURED
        assert measured == (self.reason is None), self
        assert measured == (self.text is not None or self.scores is not None or self.bounds is not None), self


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a second look measured in one window of a segment, `start_s <= t < end_s`."""

    start_s: float
    end_s: float
    feature_key: str
    answer: Answer


def bare(text: str) -> str:
    """An answer without surrounding spaces and punctuation: "**Yes.**" becomes yes, "Yes, but" does not."""
    return text.strip(_AROUND_WORDS).casefold()
