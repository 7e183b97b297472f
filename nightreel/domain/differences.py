"""Which stored answers a change of policy can touch, so that re-judging and previews read only these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nightreel.domain.policies import Band, Policy, RollUp, RollUpKind
from nightreel.domain.questions import PromptKind, Question

_WORDS_DECIDE = Band(0.5, 0.5)  # see `judging`


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """The answers whose verdict may differ.

    Args:
        ranges: of p (`judging.probability`), ends included; they do not overlap.
        unscored: those without p. bounded: those with bounds, whatever their p is.
        videos: the verdicts on all videos may differ.
    """

    ranges: tuple[tuple[float, float], ...] = ()
    unscored: bool = False
    bounded: bool = False
    videos: bool = False

    @classmethod
    def any_of(cls, parts: Iterable[Touched]) -> Touched:
        """What at least one of these touches."""
        parts = tuple(parts)
        return cls(
            ranges=_joined([one for part in parts for one in part.ranges]),
            unscored=any(part.unscored for part in parts),
            bounded=any(part.bounded for part in parts),
            videos=any(part.videos for part in parts),
        )

    def includes(self, p: float | None, *, bounded: bool) -> bool:
        """Whether the verdict on an answer with this probability may differ."""
        if bounded and self.bounded:
            return True
        return self.unscored if p is None else any(low <= p <= high for low, high in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges or self.unscored or self.bounded or self.videos)


EVERYTHING = Touched(ranges=((0.0, 1.0),), unscored=True, bounded=True, videos=True)


def touched(question: Question, old: Policy | None, new: Policy) -> Touched:
    """The answers to a question whose verdict may differ between two policies. Without an old one, all of them."""
    if old is None or _decided_by(old) != _decided_by(new):
        return EVERYTHING
    if old.coverage != new.coverage:  # a flag that is not there is sure only if enough was seen, whatever p is
        return EVERYTHING
    ranges: list[tuple[float, float]] = []
    severity_moved = any(old.severity_of(flag) != new.severity_of(flag) for flag in new.flags)
    if severity_moved:
        ranges.append((_least_flagged(question, old, new), 1.0))
    looks_changed = _plan_of_look(old) != _plan_of_look(new)
    reached = [look.from_p for look in (old.look_again, new.look_again) if look]
    if looks_changed or len(set(reached)) > 1:
        likeliest = question.kind is PromptKind.TAGS  # p is that of the likeliest tag: others reach less
        ranges.append((min(reached), 1.0 if looks_changed or likeliest else max(reached)))
    changed = [pair for pair in _bands(question, old, new) if pair[0] != pair[1]]
    for before, after in changed:
        moved = [sorted(ends) for ends in zip(before, after, strict=True) if ends[0] != ends[1]]
        if question.kind is PromptKind.TAGS:  # p is that of the likeliest tag: this tag's is at most as high
            ranges.append((moved[0][0], 1.0))
        else:
            ranges += [(low, high) for low, high in moved]
    return Touched(
        ranges=_joined(ranges),
        unscored=severity_moved or looks_changed or any(_WORDS_DECIDE in pair for pair in changed),
        bounded=bool(ranges),
        videos=old.roll_up != new.roll_up or looks_changed or (severity_moved and _can_lose_flags(question, new)),
    )


def _decided_by(policy: Policy) -> Policy:
    """What every verdict depends on."""
    return Policy(
        min_mass=policy.min_mass,
        min_margin=policy.min_margin,
        flags=policy.flags,
        lane=policy.lane,
        review=policy.review,
    )


def _least_flagged(question: Question, old: Policy, new: Policy) -> float:
    """The least p of an answer that either policy flags."""
    if question.kind is PromptKind.TAGS or (question.kind is PromptKind.YES_NO and new.flags == ("yes",)):
        return min(band.yes_from for pair in _bands(question, old, new) for band in pair)
    return 0.0


def _plan_of_look(policy: Policy) -> str | None:
    return policy.look_again.key if policy.look_again else None


def _can_lose_flags(question: Question, policy: Policy) -> bool:
    """Whether the worst flag of a segment can be none of its video, so that a milder one decides there."""
    return question.kind is PromptKind.TAGS and policy.roll_up not in (None, RollUp(RollUpKind.ANY))


def _bands(question: Question, old: Policy, new: Policy) -> list[tuple[Band, Band]]:
    match question.kind:
        case PromptKind.YES_NO:
            return [(old.band, new.band)]
        case PromptKind.TAGS:
            return [(old.band_of(tag), new.band_of(tag)) for tag in question.choices]
    return []


def _joined(ranges: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    joined: list[tuple[float, float]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)
