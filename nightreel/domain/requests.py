"""What people ask for in the console and a process of the worker's role carries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal

from nightreel.domain.policies import Band, Policy


class RequestKind(StrEnum):
    """What is asked for."""

    RETRY = "retry"
    BACKFILL = "backfill"
    POLICY = "policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryFailures:
    """Queue failed videos again. `reason`: only those that failed for it; None: all."""

    kind: ClassVar = RequestKind.RETRY
    reason: str | None

    def __post_init__(self) -> None:
        if not (self.reason is None or isinstance(self.reason, str)):
            raise ValueError(f"not a reason: {self.reason!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBackfill:
    """Pause, resume or cancel a backfill."""

    kind: ClassVar = RequestKind.BACKFILL
    backfill_id: int
    action: Literal["pause", "resume", "cancel"]

    def __post_init__(self) -> None:
        if type(self.backfill_id) is not int or self.action not in ("pause", "resume", "cancel"):
            raise ValueError(f"not a change of a backfill: {self.backfill_id!r}, {self.action!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveThreshold:
    """Change the threshold and the doubt of a prompt's policy.

    Args:
        policy_id: the policy that was in force when the person saw what the change does.
    """

    kind: ClassVar = RequestKind.POLICY
    prompt_id: int
    policy_id: int
    threshold: float
    doubt: float

    def __post_init__(self) -> None:
        ids = type(self.prompt_id) is int and type(self.policy_id) is int
        numbers = all(isinstance(one, int | float) and 0 <= one <= 1 for one in (self.threshold, self.doubt))
        if not ids or not numbers:
            raise ValueError(f"not a change of a threshold: {self}")

    def of(self, policy: Policy) -> Policy:
        """The policy with this threshold and doubt."""
        return moved(policy, self.threshold, self.doubt)


def moved(policy: Policy, threshold: float, doubt: float) -> Policy:
    """A policy with another threshold and doubt; single tags keep bands of their own."""
    values = policy.to_json() | {"band": list(Band.around(threshold, doubt))}
    return Policy.from_json(values)


Wish = RetryFailures | ChangeBackfill | MoveThreshold
_KINDS: dict[RequestKind, type[Wish]] = {one.kind: one for one in (RetryFailures, ChangeBackfill, MoveThreshold)}


def to_json(wish: Wish) -> dict[str, Any]:
    return asdict(wish)


def from_json(kind: str, values: Mapping[str, Any]) -> Wish:
    """The wish of a stored request.

    Raises:
        ValueError: the values are not those of its kind.
    """
    try:
        return _KINDS[RequestKind(kind)](**values)
    except TypeError as error:
        raise ValueError(f"not a request of kind {kind}: {dict(values)}") from error
