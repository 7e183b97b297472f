"""Queues: which findings a person judges where, who may work a queue, and which decisions a second person makes too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nightreel.domain.findings import Finding
from nightreel.domain.identity import content_hash
from nightreel.domain.users import User

RESTRICTED = "restricted"
"""The lane that only some people may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondReview:
    """Which findings a second person judges without seeing what the first one said. One condition is enough.

    Args:
        categories: findings of these.
        min_severity: findings of this severity and above.
        share: this share of all cases, from 0 to 1.
    """

    categories: tuple[str, ...] = ()
    min_severity: int | None = None
    share: float = 0.0

    def wants(self, *, category: str, severity: int | None, draw: float) -> bool:
        """Whether a second person judges a finding, too.

        Args:
            draw: `draw_of` its content.
        """
        return (
            category in self.categories
            or (self.min_severity is not None and (severity or 0) >= self.min_severity)
            or draw < self.share
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue. Its conditions must all hold; a condition that is left out holds for all findings.

    Args:
        categories: see `Finding.category`. prompt_sets: names of prompt sets.
        min_severity, max_severity: of a finding. One without a severity has 0.
        lane: only findings in this lane. Only people who may see restricted videos work a queue of the lane
            `restricted`.
        people: names of users who may work it; empty: all reviewers.
        lock_minutes: how long a person has a case alone.
        golden_share: this share of the cases that a person takes are golden items, from 0 to 1.
    """

    name: str
    categories: tuple[str, ...] = ()
    prompt_sets: tuple[str, ...] = ()
    min_severity: int | None = None
    max_severity: int | None = None
    lane: str | None = None
    people: tuple[str, ...] = ()
    lock_minutes: float = 15.0
    second_review: SecondReview = SecondReview()
    golden_share: float = 0.0

    @property
    def takes_everything(self) -> bool:
        chosen = (self.categories, self.prompt_sets, self.min_severity, self.max_severity, self.lane)
        return not any(value not in ((), None) for value in chosen)

    def takes(self, finding: Finding) -> bool:
        severity = finding.severity or 0
        return (
            (not self.categories or finding.category in self.categories)
            and (not self.prompt_sets or finding.prompt_set in self.prompt_sets)
            and (self.min_severity is None or severity >= self.min_severity)
            and (self.max_severity is None or severity <= self.max_severity)
            and (self.lane is None or finding.lane == self.lane)
        )

    def is_worked_by(self, user: User) -> bool:
        return (
            user.reviews
            and (not self.people or user.name in self.people)
            and (self.lane != RESTRICTED or user.restricted)
        )


@dataclass(frozen=True, slots=True)
class Queues:
    """All queues in their order: the first that takes a finding has it. The last one takes all that is left."""

    queues: tuple[Queue, ...]

    def __post_init__(self) -> None:
        names = [queue.name for queue in self.queues]
        if len(set(names)) < len(names):
            raise ValueError(f"a name of a queue appears twice: {', '.join(names)}")
        if not self.queues or not self.queues[-1].takes_everything:
            raise ValueError("the last queue must take all findings that are left: leave out its conditions")

    def queue_of(self, finding: Finding) -> Queue:
        return next(queue for queue in self.queues if queue.takes(finding))

    def __getitem__(self, name: str) -> Queue:
        return next(queue for queue in self.queues if queue.name == name)

    def __contains__(self, name: object) -> bool:
        return any(queue.name == name for queue in self.queues)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(queue) for queue in self.queues]

    @classmethod
    def from_json(cls, values: Sequence[Mapping[str, Any]]) -> Queues:
        return cls(tuple(_queue(value) for value in values))

    @property
    def hash(self) -> str:
        return content_hash(self.to_json())


def _queue(value: Mapping[str, Any]) -> Queue:
    second = dict(value["second_review"])
    lists = {name: tuple(value[name]) for name in ("categories", "prompt_sets", "people")}
    review = SecondReview(**second | {"categories": tuple(second["categories"])})
    return Queue(**dict(value) | lists | {"second_review": review})


def draw_of(content: str) -> float:
    """The place of a content in the draw of second reviews, from 0 to below 1: the same each time.

    >>> draw_of("a" * 64) == draw_of("a" * 64), 0 <= draw_of("b" * 64) < 1
    (True, True)
    """
    digest = hashlib.sha256(b"second review\0" + content.encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
