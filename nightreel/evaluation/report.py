"""What an evaluation says: each candidate, each prompt, and how the candidates differ. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nightreel.domain import PromptKind, VerdictState, bare
from nightreel.evaluation.asking import Asked, Cost, Outcome
from nightreel.statistics.calibration import Judged, reliability
from nightreel.statistics.comparison import Comparison, accuracy, compare
from nightreel.statistics.intervals import Interval, share

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a candidate answers one prompt, or all together.

    Args:
        asked: the prompt's name or the type of the questions; `ALL` for all together.
        unknown, errors: labels without an answer; they count as wrong.
        precision: of "yes". recall: of "yes"; an unknown answer counts as not found. None without yes/no questions, or
            without a "yes" to count.
        calibration_error: of the probabilities of "yes"; None without them.
    """

    asked: str
    labels: int
    unknown: int
    errors: int
    accuracy: Interval
    precision: Interval | None
    recall: Interval | None
    calibration_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A label that two candidates answer differently."""

    file: str
    start_s: float
    asked: str
    answer: str
    first: str
    second: str
    better: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two candidates beside each other.

    Args:
        changes: the labels that one got right and the other wrong; then the other ones with different answers.
    """

    first: str
    second: str
    comparison: Comparison
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReport:
    """One candidate. `scores`: all together, then each prompt in the order of the labels."""

    name: str
    scores: tuple[Score, ...]
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole evaluation. `differences` are those of each later candidate from the first one."""

    labels: int
    videos: int
    candidates: tuple[CandidateReport, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values; numbers that do not exist are null."""
        values: dict[str, Any] = _finite(asdict(self))
        return values


def make_report(asked: Sequence[Asked]) -> Report:
    """Report candidates that were asked for the same labels.

    Raises:
        ValueError: there is no candidate, or no label.
    """
    if not asked or not asked[0].outcomes:
        raise ValueError("a report needs candidates and labels")
    first = asked[0]
    return Report(
        labels=len(first.outcomes),
        videos=first.cost.videos,
        candidates=tuple(
            CandidateReport(name=one.candidate, scores=tuple(_scores(one.outcomes)), cost=one.cost) for one in asked
        ),
        differences=tuple(_difference(first, other) for other in asked[1:]),
    )


def said(outcome: Outcome) -> str:
    """What a candidate said, in a few words."""
    verdict = outcome.verdict
    return verdict.text or "none" if verdict.state is VerdictState.ANSWERED else f"{verdict.state}: {verdict.reason}"


def _scores(outcomes: Sequence[Outcome]) -> list[Score]:
    by_prompt: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_prompt.setdefault(outcome.label.group, []).append(outcome)
    return [_score(ALL, outcomes), *(_score(name, own) for name, own in by_prompt.items())]


def _score(asked: str, outcomes: Sequence[Outcome]) -> Score:
    yes_no = [one for one in outcomes if one.question_kind is PromptKind.YES_NO]
    called = [one for one in yes_no if one.verdict.value is True]
    true = [one for one in yes_no if _is_true(one)]
    probabilities = [Judged(one.p, _is_true(one)) for one in yes_no if one.p is not None]
    calibration = reliability(probabilities)
    return Score(
        asked=asked,
        labels=len(outcomes),
        unknown=sum(one.verdict.state is VerdictState.UNKNOWN for one in outcomes),
        errors=sum(one.verdict.state is VerdictState.ERROR for one in outcomes),
        accuracy=accuracy([one.right for one in outcomes]),
        precision=share(sum(one.right for one in called), len(called)) if called else None,
        recall=share(sum(one.right for one in true), len(true)) if true else None,
        calibration_error=calibration.error if calibration else None,
    )


def _is_true(outcome: Outcome) -> bool:
    return bare(outcome.label.answer) == "yes"


def _difference(first: Asked, second: Asked) -> Difference:
    pairs = list(zip(first.outcomes, second.outcomes, strict=True))
    changed = [(one, other) for one, other in pairs if said(one) != said(other)]
    changed.sort(key=lambda pair: pair[0].right == pair[1].right)
    return Difference(
        first=first.candidate,
        second=second.candidate,
        comparison=compare([one.right for one, _ in pairs], [other.right for _, other in pairs]),
        changes=tuple(
            Change(
                file=one.label.file,
                start_s=one.label.start_s,
                asked=one.label.asked,
                answer=one.label.answer,
                first=said(one),
                second=said(other),
                better="" if one.right == other.right else first.candidate if one.right else second.candidate,
            )
            for one, other in changed
        ),
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
