"""How far people agree with each other, and with what is known: second reviews, and golden items."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

from nightreel.statistics.agreement import krippendorff_alpha
from nightreel.statistics.intervals import Interval, share

_PAIRS = text(
    "SELECT prompt_set, prompt, first_ruling, second_ruling FROM reporting.agreement ORDER BY prompt_set, prompt"
)
_ACCURACY = text("SELECT * FROM reporting.reviewer_accuracy ORDER BY prompt_set, prompt, reviewer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two people agree on the labels of a prompt.

    Args:
        labels: those that two people judged. agreed: those of which they said the same.
        alpha: Krippendorff's; None where nothing can be said, because all said the same of all labels.
    """

    prompt_set: str
    prompt: str
    labels: int
    agreed: int
    alpha: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerAccuracy:
    """How often a reviewer is right about the golden items of a prompt.

    Args:
        reviewer: a pseudonym. judged: decisions. unsure: neither right nor wrong, and not among `judged`.
    """

    reviewer: str
    prompt_set: str
    prompt: str
    judged: int
    correct: int
    unsure: int

    @property
    def accuracy(self) -> Interval:
        return share(self.correct, self.judged)

    def to_json(self) -> dict[str, Any]:
        """Its fields, with `accuracy`; null where nothing is judged."""
        return asdict(self) | {"accuracy": asdict(self.accuracy) if self.judged else None}


def read_agreement(connection: Connection) -> list[Agreement]:
    """The agreement of each prompt with second reviews."""
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for row in connection.execute(_PAIRS):
        pairs[row.prompt_set, row.prompt].append((row.first_ruling, row.second_ruling))
    return [
        Agreement(
            prompt_set=prompt_set,
            prompt=prompt,
            labels=len(own),
            agreed=sum(first == second for first, second in own),
            alpha=krippendorff_alpha(own),
        )
        for (prompt_set, prompt), own in pairs.items()
    ]


def read_accuracy(connection: Connection) -> list[ReviewerAccuracy]:
    """The accuracy of each reviewer and prompt."""
    names = ReviewerAccuracy.__dataclass_fields__
    return [ReviewerAccuracy(**{name: getattr(row, name) for name in names}) for row in connection.execute(_ACCURACY)]
