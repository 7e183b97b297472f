"""Roll-up: what the verdicts on a video's segments say about the video, under a policy.

A video of which a segment failed, is unknown or was not seen never rolls up to "no", no tag at all, or the number 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from nightreel.domain.judging import with_flags
from nightreel.domain.policies import Policy, RollUp, RollUpKind
from nightreel.domain.questions import PromptKind, Question
from nightreel.domain.structures import text_of
from nightreel.domain.verdicts import UNSURE, Value, Verdict, VerdictState, saw, too_little

_ROLL_UPS = {
    PromptKind.YES_NO: (RollUpKind.ANY, RollUpKind.ALL, RollUpKind.SHARE, RollUpKind.LONGEST),
    PromptKind.TAGS: (RollUpKind.ANY, RollUpKind.ALL, RollUpKind.SHARE, RollUpKind.LONGEST),
    PromptKind.CHOICE: (RollUpKind.MODE, RollUpKind.FIRST),
    PromptKind.KEYWORDS: (RollUpKind.ANY, RollUpKind.ALL, RollUpKind.SHARE, RollUpKind.LONGEST),
    PromptKind.OBJECT: (RollUpKind.MODE, RollUpKind.FIRST),
    PromptKind.NUMBER: (RollUpKind.MAX, RollUpKind.MEAN, RollUpKind.FIRST, RollUpKind.MODE),
}
_Value = TypeVar("_Value", bound=Hashable)
_GAP_S = 1e-3  # segments that are no further apart follow each other, and as much may be missing from a stretch


def roll_ups_of(kind: PromptKind) -> tuple[RollUpKind, ...]:
    """The roll-ups that a kind of prompt can have, the default first. Texts have none: they are joined."""
    return _ROLL_UPS.get(kind, ())


@dataclass(frozen=True, slots=True)
class SegmentVerdict:
    """The verdict on one segment, `start_s <= t < end_s`, and the probabilities of its answers (`Answer.scores`)."""

    start_s: float
    end_s: float
    verdict: Verdict
    scores: Mapping[str, float] | None = None

    @property
    def said_from_s(self) -> float:
        """Start of the part that its answer is about: of the segment, or of what a second look found in it."""
        return self.start_s if self.verdict.start_s is None else self.verdict.start_s

    @property
    def said_to_s(self) -> float:
        return self.end_s if self.verdict.end_s is None else self.verdict.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoVerdict:
    """The verdict on a video.

    Args:
        max_p: the greatest probability that a segment gives the answer that is shown; None if it has none, and for
            "no", which no single segment can show.
        first_flagged_s: start of the first flagged segment, or of the flagged part of it; None if the video is not
            flagged.
        segments, unknown, errors: the segments with a verdict, and how many of them are unknown and errors.
        missing: segments without a verdict.
    """

    verdict: Verdict
    max_p: float | None
    first_flagged_s: float | None
    segments: int
    unknown: int
    errors: int
    missing: int


def roll_up(
    question: Question,
    policy: Policy,
    verdicts: Sequence[SegmentVerdict],
    *,
    missing: int,
    covered_s: float,
    expected_s: float | None,
) -> VideoVerdict:
    """The verdict on a video from those on its segments, in the order of time.

    Args:
        missing: segments without a verdict.
        covered_s, expected_s: seconds of the video that were seen, and that it should have; None: not known, so that
            it is not known whether enough was seen.
    """
    video = _Video(question, policy, verdicts, missing=missing, covered_s=covered_s, expected_s=expected_s)
    verdict = video.verdict()
    errors = sum(one.verdict.state is VerdictState.ERROR for one in verdicts)
    if verdict.state is VerdictState.UNKNOWN and errors:
        verdict = replace(verdict, state=VerdictState.ERROR)
    verdict = with_flags(
        verdict,
        policy,
        flags=[flag for flag in policy.flags if video.holds(flag)],
        is_whole=video.is_whole,
    )
    flagged_s = (one.said_from_s for one in verdicts if one.verdict.flagged)
    return VideoVerdict(
        verdict=verdict,
        max_p=video.max_p(verdict),
        first_flagged_s=min(flagged_s, default=None) if verdict.flagged else None,
        segments=len(verdicts),
        unknown=sum(one.verdict.state is VerdictState.UNKNOWN for one in verdicts),
        errors=errors,
        missing=missing,
    )


class _Video:
    """The segments of a video under one policy. `is_whole`: all of them are judged, and enough was seen."""

    def __init__(
        self,
        question: Question,
        policy: Policy,
        verdicts: Sequence[SegmentVerdict],
        *,
        missing: int,
        covered_s: float,
        expected_s: float | None,
    ) -> None:
        self._question = question
        usual = next(iter(roll_ups_of(question.kind)), RollUpKind.ANY)
        self._how = policy.roll_up or RollUp(usual)
        self._segments = verdicts
        self._answered = [one for one in verdicts if one.verdict.state is VerdictState.ANSWERED]
        self._seconds = max(expected_s or 0.0, sum(one.end_s - one.start_s for one in verdicts))
        lacking = sum(not _is_judged(one.verdict) for one in verdicts) + missing
        little_seen = policy.coverage > 0 if expected_s is None else too_little(covered_s, expected_s, policy.coverage)
        self.is_whole = bool(verdicts) and not lacking and not little_seen
        if little_seen:
            unknown = "it is not known how much was seen"
            self._why_unknown = unknown if expected_s is None else saw(covered_s, expected_s)
        else:
            self._why_unknown = f"{lacking} of {len(verdicts) + missing} segments have no answer"

    def verdict(self) -> Verdict:
        match self._question.kind:
            case PromptKind.YES_NO:
                if self.holds("yes"):
                    return Verdict(state=VerdictState.ANSWERED, value=True, text="yes")
                return (
                    Verdict(state=VerdictState.ANSWERED, value=False, text="no") if self.is_whole else self._unknown()
                )
            case PromptKind.TAGS:
                return self._tags()
            case PromptKind.KEYWORDS:
                return self._keywords()
            case PromptKind.OBJECT:
                return self._object()
            case PromptKind.NUMBER:
                return self._number()
            case PromptKind.CHOICE:
                texts = [one.verdict.text or "" for one in self._counted()]
                if not texts:
                    return self._unknown()
                text = _mode(texts)
                return Verdict(state=VerdictState.ANSWERED, value=text, text=text)
        told = " ".join(one.verdict.text or "" for one in self._answered)
        return Verdict(state=VerdictState.ANSWERED, value=told, text=told) if told else self._unknown()

    def holds(self, answer: str) -> bool:
        """Whether the video has this answer, by the roll-up; a roll-up of numbers or choices counts as `any`."""
        said = [one for one in self._segments if one.verdict.says(answer)]
        match self._how.kind:
            case RollUpKind.ALL:
                return self.is_whole and len(said) == len(self._segments)
            case RollUpKind.SHARE:
                return (
                    bool(said)
                    and sum(one.said_to_s - one.said_from_s for one in said) + _GAP_S >= self._how.least * self._seconds
                )
            case RollUpKind.LONGEST:
                return bool(said) and _longest_s(said) + _GAP_S >= self._how.least
        return bool(said)

    def max_p(self, verdict: Verdict) -> float | None:
        if verdict.state is not VerdictState.ANSWERED or verdict.value is False:
            return None
        shown = verdict.value if isinstance(verdict.value, list) else [verdict.text or ""]
        found = [
            one.scores[answer]
            for one in self._answered
            for answer in shown
            if one.scores and answer in one.scores and one.verdict.says(answer)
        ]
        return max(found, default=None)

    def _tags(self) -> Verdict:
        choices = self._question.choices
        tags = [tag for tag in choices if self.holds(tag)]
        doubted = {tag for one in self._segments for tag, label in one.verdict.labels.items() if label == UNSURE}
        unsure = [tag for tag in choices if tag not in tags and (tag in doubted or not self.is_whole)]
        labels = {tag: "yes" if tag in tags else UNSURE for tag in choices if tag in tags or tag in unsure}
        if unsure and not tags:
            why = self._why_unknown if not self.is_whole else f"{', '.join(unsure)}: in doubt"
            return Verdict(state=VerdictState.UNKNOWN, reason=why, labels=labels)
        return Verdict(state=VerdictState.ANSWERED, value=tags, text=", ".join(tags), labels=labels)

    def _keywords(self) -> Verdict:
        """The keywords that the roll-up keeps, the most frequent ones first."""
        counts = Counter(keyword for one in self._answered for keyword in _listed(one.verdict.value))
        keywords = [keyword for keyword, _ in counts.most_common() if self.holds(keyword)][: self._question.most]
        if not keywords and not self.is_whole:
            return self._unknown()
        return Verdict(state=VerdictState.ANSWERED, value=keywords, text=", ".join(keywords))

    def _object(self) -> Verdict:
        """Each field on its own: its most frequent value, or the items of all its lists, the most frequent first."""
        found = [one.verdict.value for one in self._counted() if isinstance(one.verdict.value, dict)]
        if not found:
            return self._unknown()
        merged: dict[str, Any] = {}
        for field in self._question.fields:
            values = [one[field.name] for one in found if field.name in one]
            if field.max_items:
                items = Counter(item for value in values for item in dict.fromkeys(value))
                merged[field.name] = [item for item, _ in items.most_common(field.max_items)]
            else:
                merged[field.name] = _mode(values)
        return Verdict(state=VerdictState.ANSWERED, value=merged, text=text_of(merged))

    def _number(self) -> Verdict:
        numbers = [float(one.verdict.value) for one in self._counted() if isinstance(one.verdict.value, int | float)]
        if not numbers:
            return self._unknown()
        match self._how.kind:
            case RollUpKind.MEAN:
                number = sum(numbers) / len(numbers)
            case RollUpKind.FIRST | RollUpKind.MODE:
                number = _mode(numbers)
            case _:
                number = max(numbers)
        if number == 0 and not self.is_whole:
            return self._unknown()
        return Verdict(state=VerdictState.ANSWERED, value=number, text=f"{number:.15g}")

    def _counted(self) -> list[SegmentVerdict]:
        """The answered segments that decide about a choice or a number. `first`: that at the start, if answered."""
        if self._how.kind is not RollUpKind.FIRST:
            return self._answered
        return [one for one in self._answered[:1] if one is self._segments[0] and one.start_s <= _GAP_S]

    def _unknown(self) -> Verdict:
        return Verdict(state=VerdictState.UNKNOWN, reason=self._why_unknown)


def _listed(value: Value | None) -> list[str]:
    return value if isinstance(value, list) else []


def _is_judged(verdict: Verdict) -> bool:
    """Whether it says something about each answer: if a tag is in doubt, the others are known."""
    return verdict.state is VerdictState.ANSWERED or bool(verdict.labels)


def _mode(values: Sequence[_Value]) -> _Value:
    """The most frequent value; of several, the one that comes first."""
    return Counter(values).most_common(1)[0][0]


def _longest_s(segments: Sequence[SegmentVerdict]) -> float:
    """Seconds of the longest stretch of segments that follow each other."""
    longest, began, ended = 0.0, -math.inf, -math.inf
    for one in segments:
        if one.said_from_s > ended + _GAP_S:
            began = one.said_from_s
        ended = one.said_to_s
        longest = max(longest, ended - began)
    return longest
