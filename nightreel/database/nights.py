"""A run and its helpers: other runs, on other devices, that work on the same backlog.

The run lists its source, and its helpers only claim. A helper has the id of its run in `runs.night_id`. This module
does not know flow runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB

from nightreel.database import schema
from nightreel.database.claims import Selection
from nightreel.domain import EndedVideo, VideoEnd
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_runs, _analyses = schema.runs, schema.analyses
_FAILED = {"failed": VideoEnd.FAILED, "quarantined": VideoEnd.QUARANTINED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """The run that helpers work for.

    Args:
        is_alive: it runs, and sends heartbeats. is_listed: it has listed all of its source.
        model: the setting that selects the recipe's model.
    """

    id: int
    flow_run_id: str | None
    name: str
    status: str
    is_alive: bool
    is_listed: bool
    recipe_id: int
    model: str
    source: str
    selection: Selection
    ready_by: datetime | None

    @property
    def may_grow(self) -> bool:
        """Whether its backlog may still get more videos."""
        return self.is_alive and not self.is_listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A run of a helper.

    Args:
        counts: as `RunSummary.to_json`, at its end. Of a helper that died: what it has committed, without answers.
    """

    run_id: int
    flow_run_id: str | None
    status: str
    counts: Mapping[str, Any]
    timings: Mapping[str, float]
    error: str | None


def read_night(connection: Connection, run_id: int) -> Night:
    """The run that helpers with this number work for. Raises PermanentError `no_such_run`."""
    row = connection.execute(select(_runs, _alive().label("is_alive")).where(_runs.c.id == run_id)).first()
    if row is None:
        raise PermanentError(Reason.NO_SUCH_RUN, f"there is no run {run_id} in nightreel.runs")
    options = row.options
    only = options.get("only")
    return Night(
        id=row.id,
        flow_run_id=row.flow_run_id,
        name=row.name or "",
        status=row.status,
        is_alive=row.is_alive,
        is_listed=row.listed_at is not None,
        recipe_id=row.recipe_id,
        model=options.get("model") or row.settings["model"],
        source=row.source,
        selection=Selection(
            f"{row.source}/",
            _time(options.get("since")),
            _time(options.get("until")),
            only=tuple(only) if only else None,
        ),
        ready_by=row.ready_by,
    )


def require_no_night(connection: Connection, *, source: str, recipe_id: int) -> None:
    """Check that no night does this work already. Another night cannot start before the transaction ends.

    Raises:
        PermanentError: `night_is_running`.
    """
    key = func.hashtextextended(f"nightreel night {recipe_id} {source}", 0)
    connection.execute(select(func.pg_advisory_xact_lock(key)))
    other = connection.execute(
        select(_runs.c.id, _runs.c.name).where(
            _runs.c.source == source,
            _runs.c.recipe_id == recipe_id,
            _runs.c.night_id.is_(None),
            _runs.c.name.like("night %"),
            _alive(),
        )
    ).first()
    if other is not None:
        raise PermanentError(
            Reason.NIGHT_IS_RUNNING,
            f"{other.name}, run {other.id}, still analyses {source}: it finds new videos too; wait for its end or "
            "cancel it",
        )


def mark_listed(connection: Connection, run_id: int) -> None:
    """Record that a run has listed all of its source: its helpers wait for no more."""
    connection.execute(update(_runs).where(_runs.c.id == run_id).values(listed_at=func.now()))


def has_helpers_at_work(connection: Connection, run_id: int) -> bool:
    """Whether a helper of a run works now. Cheap: it is asked every few seconds."""
    at_work = select(_runs.c.id).where(_runs.c.night_id == run_id, _alive())
    return bool(connection.execute(select(at_work.exists())).scalar_one())


def helpers_of(connection: Connection, run_id: int) -> list[Helper]:
    """The helpers of a run that have started, in the order of their start. For the end of the run: see `_committed`."""
    rows = connection.execute(
        select(_runs, _alive().label("is_alive")).where(_runs.c.night_id == run_id).order_by(_runs.c.id)
    ).all()
    committed = _committed(connection, [row.id for row in rows if row.counts is None and not row.is_alive])
    return [
        Helper(
            run_id=row.id,
            flow_run_id=row.flow_run_id,
            status=row.status,
            counts=row.counts or committed.get(row.id, {}),
            timings=row.timings or {},
            error=row.error,
        )
        for row in rows
    ]


def _committed(connection: Connection, run_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What runs have done, by their ids, in the form of `RunSummary.to_json`. Reads all finished work."""
    if not run_ids:
        return {}
    groups = connection.execute(
        select(
            _analyses.c.run_id,
            _analyses.c.status,
            _analyses.c.reused,
            _analyses.c.reason,
            (_analyses.c.reopened > 0).label("failed_before"),
            func.count().label("videos"),
            func.coalesce(func.sum(_analyses.c.segments), 0).label("segments"),
        )
        .where(_analyses.c.run_id.in_(run_ids), _analyses.c.status.not_in(("pending", "claimed")))
        .group_by(_analyses.c.run_id, _analyses.c.status, _analyses.c.reused, _analyses.c.reason, "failed_before")
    )
    found: dict[int, dict[str, Any]] = {}
    for group in groups:
        counts = found.setdefault(
            group.run_id,
            {
                "videos": {},
                "reasons": {},
                "partly_done": {},
                "new_videos": {"succeeded": 0, "failed": 0},
                "segments": 0,
            },
        )
        end = VideoEnd.REUSED if group.reused else VideoEnd(group.status)
        counts["videos"][end] = counts["videos"].get(end, 0) + group.videos
        counts["segments"] += group.segments
        if not group.failed_before:
            counts["new_videos"]["failed" if group.status in _FAILED else "succeeded"] += group.videos
        if group.reason:
            kind = counts["reasons" if group.status in _FAILED else "partly_done"]
            kind[group.reason] = kind.get(group.reason, 0) + group.videos
    return found


def measured_before(connection: Connection, run_id: int) -> tuple[Mapping[str, float], int]:
    """Seconds by stage of the last run with the model of this one in which videos ended, and how many; none: {}, 0."""
    recipes = schema.recipes
    own = (
        select(recipes.c.model_id)
        .join(_runs, _runs.c.recipe_id == recipes.c.id)
        .where(_runs.c.id == run_id)
        .scalar_subquery()
    )
    row = connection.execute(
        select(_runs.c.timings, _runs.c.counts["videos"].label("videos"))
        .join(recipes, recipes.c.id == _runs.c.recipe_id)
        .where(
            recipes.c.model_id == own,
            _runs.c.id < run_id,
            _runs.c.timings.is_not(None),
            _runs.c.counts["videos"] != literal({}, type_=JSONB),
            func.coalesce(func.jsonb_array_length(_runs.c.counts["helpers"]), 0) == 0,
        )
        .order_by(_runs.c.id.desc())
        .limit(1)
    ).first()
    return (row.timings, sum(row.videos.values())) if row else ({}, 0)


def failures_of(connection: Connection, run_id: int, *, limit: int = 100) -> list[EndedVideo]:
    """The videos that failed in the helpers of a run, in the order of their keys."""
    rows = connection.execute(
        select(_analyses.c.id, _analyses.c.uri, _analyses.c.status, _analyses.c.reason, _analyses.c.detail)
        .join(_runs, _runs.c.id == _analyses.c.run_id)
        .where(_runs.c.night_id == run_id, _analyses.c.status.in_(_FAILED))
        .order_by(_analyses.c.uri)
        .limit(limit)
    )
    return [
        EndedVideo(
            analysis_id=row.id,
            uri=row.uri,
            end=_FAILED[row.status],
            reason=Reason.of(row.reason) if row.reason else None,
            detail=row.detail,
        )
        for row in rows
    ]


def _alive() -> Any:
    return (_runs.c.status == "running") & (func.coalesce(_runs.c.alive_until, _runs.c.started_at) > func.now())


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
