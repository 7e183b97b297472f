"""The run of a helper: it works on the backlog of another run, the night, as long as that may grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nightreel.database.claims import remaining
from nightreel.database.connection import Database
from nightreel.database.nights import Night, read_night
from nightreel.database.recipes import read_recipe

_CANCELLED = "cancelled"
IsCancelled = Callable[[str], bool]


def never_cancelled(_: str) -> bool:
    """Always False: for runs without Prefect."""
    return False


@dataclass(frozen=True, kw_only=True)
class HelperRun:
    """The run of a helper.

    Args:
        night: as it was when the run was opened.
        is_cancelled: whether a person cancelled or paused the flow run with this id.
    """

    night: Night
    database: Database
    is_cancelled: IsCancelled

    def why_stop(self) -> str | None:
        """Why the run should claim no more; None: it may go on. A night that was killed stops no helper."""
        night = self._read()
        cancelled = night.status == _CANCELLED or (night.flow_run_id and self.is_cancelled(night.flow_run_id))
        return f"run {night.id}, which it helps, was cancelled or paused" if cancelled else None

    def why_not_begin(self) -> str | None:
        """Why the run should not begin, while it has claimed nothing; None: it may."""
        return self.why_stop() or (None if self.needs_help() else f"run {self.night.id} needs no more help")

    def backlog_may_grow(self) -> bool:
        return self._read().may_grow

    def needs_help(self) -> bool:
        return needs_help(self.database, self.night.id)

    def _read(self) -> Night:
        with self.database.begin() as connection:
            return read_night(connection, self.night.id)


def needs_help(database: Database, night_id: int) -> bool:
    """Whether the backlog of a run has work that can be claimed, or may get some."""
    with database.begin() as connection:
        night = read_night(connection, night_id)
        if night.status == _CANCELLED:
            return False
        recipe, _ = read_recipe(connection, night.recipe_id)
        rest = remaining(connection, recipe=recipe, run_id=0, selection=night.selection)
    return night.may_grow or (rest.next_in_s is not None and rest.next_in_s <= 0)
