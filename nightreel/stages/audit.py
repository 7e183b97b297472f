"""Audit: draw random samples that say what the machine misses, or which of two recipes is right. No model is asked."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from nightreel.database.audits import AuditedLabel, NewAudit, auditable_labels, draw_audit, newly_audited
from nightreel.database.connection import Database
from nightreel.database.recipes import read_recipe
from nightreel.errors import SettingsError
from nightreel.settings import Settings
from nightreel.units import counted

_SEED_BITS = 62
_SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditWish:
    """What is to be audited.

    Args:
        sample, under, recipes: as of `NewAudit`.
        prompt_set, prompt: only labels of these; None: of all.
    """

    sample: int
    made_by: str
    under: str | None = None
    recipes: tuple[int, int] | None = None
    prompt_set: str | None = None
    prompt: str | None = None


def draw_audits(database: Database, wish: AuditWish) -> Iterator[tuple[AuditedLabel, int | None]]:
    """Draw an audit of each label, in a transaction of its own. Yields the labels with the numbers of their audits.

    The number is None where there is nothing to draw from.

    Raises:
        SettingsError: no label has verdicts; a recipe does not exist.
    """
    with database.begin() as connection:
        labels = _labels(connection, wish)
    for label in labels:
        yield label, _draw(database, label, wish)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueAudits:
    """Audits that were drawn because they were due, and labels of which there is nothing to draw."""

    drawn: int = 0
    nothing: int = 0

    def __str__(self) -> str:
        return f"{counted(self.drawn, 'audit')} drawn, {counted(self.nothing, 'label')} without a verdict to draw"


def draw_due_audits(settings: Settings, database: Database) -> DueAudits:
    """Draw an audit of each label that has none, or one of `NIGHTREEL_AUDIT_EVERY_DAYS` ago. Repeating it goes on.

    Without this setting it does nothing.
    """
    if not settings.audit_every_days:
        return DueAudits()
    wish = AuditWish(sample=settings.audit_sample, made_by=_SCHEDULE)
    with database.begin() as connection:
        newly = newly_audited(connection, days=settings.audit_every_days)
        due = [one for one in auditable_labels(connection) if (one.prompt_id, one.tag) not in newly]
    drawn = sum(_draw(database, label, wish) is not None for label in due)
    return DueAudits(drawn=drawn, nothing=len(due) - drawn)


def _draw(database: Database, label: AuditedLabel, wish: AuditWish) -> int | None:
    new = NewAudit(
        sample=wish.sample,
        seed=secrets.randbits(_SEED_BITS),
        made_by=wish.made_by,
        under=wish.under,
        recipes=wish.recipes,
    )
    with database.begin() as connection:
        return draw_audit(connection, label, new)


def _labels(connection: Connection, wish: AuditWish) -> list[AuditedLabel]:
    labels = auditable_labels(connection, prompt_set=wish.prompt_set, prompt=wish.prompt)
    if not labels:
        raise SettingsError("there is nothing to audit: no prompt with a flag has verdicts on videos")
    if wish.recipes is None:
        return labels
    asked = [
        {(prompt.set_name, prompt.name) for prompt in read_recipe(connection, number)[0].prompts.prompts}
        for number in wish.recipes
    ]
    return [label for label in labels if all((label.prompt_set, label.prompt) in own for own in asked)]
