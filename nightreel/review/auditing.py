"""What audits say: how much the machine missed, whether its probabilities are true, and which of two recipes is right.

It reads the views `reporting.audits` and `reporting.audit_decisions`, and computes with `nightreel.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from nightreel.database.audits import MISSES, ONLY_FIRST, PASSED, SHADOW, SHOWN
from nightreel.review.refusals import NotFoundError
from nightreel.review.showing import label_name
from nightreel.statistics.calibration import Judged
from nightreel.statistics.comparison import Comparison, compare
from nightreel.statistics.intervals import Stratum
from nightreel.statistics.misses import Misses, estimate_misses

_AUDITS = text(
    "SELECT * FROM reporting.audits WHERE (:ended OR ended_at IS NULL) "
    "AND (CAST(:audit_id AS bigint) IS NULL OR audit_id = :audit_id) ORDER BY prompt_set, prompt, tag, audit_id"
)
_DECISIONS = text(
    "SELECT stratum, p, ruling FROM reporting.audit_decisions WHERE audit_id = :audit_id AND p IS NOT NULL "
    "ORDER BY content_sha256"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStratum:
    """Items that the machine treats alike.

    Args:
        found: what it says of them. low, high: their probabilities; None: they have none.
        size: all items. drawn: those of the sample. judged: those with a decision. confirmed: those of which people say
            that the label is right.
    """

    found: str
    low: float | None
    high: float | None
    size: int
    drawn: int
    judged: int
    confirmed: int

    @property
    def counts(self) -> Stratum:
        return Stratum(self.size, self.judged, self.confirmed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A random sample of one label, and what people decided of it.

    Args:
        is_of_policy_in_force: the policy that judged the sample is still in force.
        first_recipe_id, second_recipe_id: of a shadow audit.
        ended_at: since when nobody is asked about it any more.
    """

    audit_id: int
    audit_kind: str
    prompt_set: str
    prompt: str
    tag: str | None
    is_of_policy_in_force: bool
    first_recipe_id: int | None
    second_recipe_id: int | None
    made_by: str
    drawn_at: datetime
    ended_at: datetime | None
    size: int
    drawn: int
    judged: int
    strata: tuple[AuditStratum, ...]

    @property
    def name(self) -> str:
        return label_name(self.prompt, self.tag or "")

    @property
    def misses(self) -> Misses | None:
        """What the machine missed. None for a shadow audit, and as long as nobody judged what it calls "no"."""
        passed = [one.counts for one in self.strata if one.found == PASSED]
        shown = [one.counts for one in self.strata if one.found in SHOWN]
        if self.audit_kind != MISSES or not any(one.sampled for one in passed):
            return None
        return estimate_misses(shown, passed) if not shown or any(one.sampled for one in shown) else None

    @property
    def comparison(self) -> Comparison | None:
        """Which of two recipes is right where they disagree. None for other audits, and without decisions."""
        if self.audit_kind != SHADOW or not self.judged:
            return None
        first: list[bool] = []
        for one in self.strata:
            flagged_by_first = one.found == ONLY_FIRST
            first += [flagged_by_first] * one.confirmed + [not flagged_by_first] * (one.judged - one.confirmed)
        return compare(first, [not right for right in first])

    def to_json(self) -> dict[str, Any]:
        """Its fields with what they say: `misses` and `comparison`, null where nothing can be said."""
        said = {"misses": self.misses, "comparison": self.comparison}
        return asdict(self) | {name: asdict(one) if one else None for name, one in said.items()}


def read_audits(connection: Connection, *, ended: bool = False) -> list[Audit]:
    """The open audits. Args: ended: those that ended, too."""
    rows = connection.execute(_AUDITS, {"ended": ended, "audit_id": None})
    return [_audit(row) for row in rows]


def read_audit(connection: Connection, audit_id: int) -> Audit:
    """One audit. Raises NotFoundError if there is none with this number."""
    row = connection.execute(_AUDITS, {"ended": True, "audit_id": audit_id}).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no audit {audit_id}: `nightreel audit` lists them")
    return _audit(row)


def judged_items(connection: Connection, audit: Audit) -> list[Judged]:
    """The judged items of an audit that have a probability, each with the number of items that it stands for."""
    rows = connection.execute(_DECISIONS, {"audit_id": audit.audit_id})
    weights = [stratum.size / stratum.judged if stratum.judged else 0.0 for stratum in audit.strata]
    return [Judged(row.p, row.ruling == "confirm", weights[row.stratum]) for row in rows]


def newest_misses(audits: Sequence[Audit], name: str) -> Audit:
    """The open audit of misses of a label, by its name or SET/NAME.

    Raises:
        NotFoundError: there is none.
    """
    found = [one for one in audits if one.audit_kind == MISSES and name in (one.name, f"{one.prompt_set}/{one.name}")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{one.prompt_set}/{one.name}" for one in audits if one.audit_kind == MISSES)
    if found:
        raise NotFoundError(f"{name!r} is in several prompt sets: name one of {names}")
    raise NotFoundError(
        f"{name!r} has no audit: `nightreel audit draw` draws one" + (f"; there are {names}" if names else "")
    )


def _audit(row: Any) -> Audit:
    values = {name: getattr(row, name) for name in Audit.__dataclass_fields__ if name != "strata"}
    return Audit(**values, strata=tuple(AuditStratum(**stratum) for stratum in row.strata))
