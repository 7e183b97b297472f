"""What people ask for in the console or over REST, and a process of the worker's role carries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, get_args

from nightreel.domain.policies import Band, Policy
from nightreel.domain.users import Role


class RequestKind(StrEnum):
    """What is asked for."""

    RETRY = "retry"
    BACKFILL = "backfill"
    POLICY = "policy"
    ERASE = "erase"
    HOLD = "hold"
    END_HOLD = "end_hold"
    GOLDEN = "golden"
    END_GOLDEN = "end_golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryFailures:
    """Queue failed videos again. `reason`: only those that failed for it; None: all."""

    kind: ClassVar = RequestKind.RETRY
    role: ClassVar = Role.LEAD
    reason: str | None

    def __post_init__(self) -> None:
        if not (self.reason is None or isinstance(self.reason, str)):
            raise ValueError(f"not a reason: {self.reason!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBackfill:
    """Pause, resume or cancel a backfill."""

    kind: ClassVar = RequestKind.BACKFILL
    role: ClassVar = Role.LEAD
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
    role: ClassVar = Role.LEAD
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseVideo:
    """Erase all that is known of a video.

    Args:
        what: the URI of an object, or the SHA-256 of a content. all_copies: the same bytes under other keys, too.
        digest: of the preview: names exactly what it showed.
    """

    kind: ClassVar = RequestKind.ERASE
    role: ClassVar = Role.ADMIN
    what: str
    all_copies: bool
    reason: str
    digest: str

    def __post_init__(self) -> None:
        if not _are_texts(self.what, self.reason, self.digest) or type(self.all_copies) is not bool:
            raise ValueError("not an erasure: expected what, all_copies, reason and digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddHold:
    """Hold an object or a content: nothing erases it. `what`: as of `EraseVideo`."""

    kind: ClassVar = RequestKind.HOLD
    role: ClassVar = Role.ADMIN
    what: str
    reason: str

    def __post_init__(self) -> None:
        if not _are_texts(self.what, self.reason):
            raise ValueError("not a hold: expected what and reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndHold:
    """End a legal hold."""

    kind: ClassVar = RequestKind.END_HOLD
    role: ClassVar = Role.ADMIN
    hold_id: int

    def __post_init__(self) -> None:
        if type(self.hold_id) is not int:
            raise ValueError(f"not a hold: {self.hold_id!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddGolden:
    """Keep a video as a golden item. `labels`: whether each is right, by its name or SET/NAME."""

    kind: ClassVar = RequestKind.GOLDEN
    role: ClassVar = Role.ADMIN
    video_id: int
    labels: Mapping[str, bool]

    def __post_init__(self) -> None:
        is_mapping = isinstance(self.labels, Mapping) and all(type(one) is bool for one in self.labels.values())
        if type(self.video_id) is not int or not is_mapping:
            raise ValueError(f"not a golden item: {self.video_id!r}, {self.labels!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndGolden:
    """Give a golden item to nobody any more."""

    kind: ClassVar = RequestKind.END_GOLDEN
    role: ClassVar = Role.ADMIN
    golden_id: int

    def __post_init__(self) -> None:
        if type(self.golden_id) is not int:
            raise ValueError(f"not a golden item: {self.golden_id!r}")


Wish = RetryFailures | ChangeBackfill | MoveThreshold | EraseVideo | AddHold | EndHold | AddGolden | EndGolden
_KINDS: dict[RequestKind, type[Wish]] = {one.kind: one for one in get_args(Wish)}


def _are_texts(*values: object) -> bool:
    return all(isinstance(one, str) and one.strip() for one in values)


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
