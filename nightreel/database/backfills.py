"""Backfills and their shards: accepted, submitted to Prefect, done.

The dispatch and the runs of shards change them, `nightreel backfill` shows them. This module does not know whether a
flow run is alive: callers pass it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, case, func, insert, select, update

from nightreel.database import schema
from nightreel.database.claims import Selection
from nightreel.database.statements import statement
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_MOST_ATTEMPTS = 3  # runs of a shard that break in a row
_MOST_DEATHS = 12  # the same, if their processes died: a video that kills runs must be found and quarantined first
_AGAIN = timedelta(seconds=60)  # until the next attempt of a shard that broke, or that waits for claims of other runs
_backfills, _shards = schema.backfills, schema.backfill_shards

_FROM = {"pause": ("running",), "resume": ("paused", "failed"), "cancel": ("running", "paused", "failed")}
_TO = {"pause": "paused", "resume": "running", "cancel": "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRange:
    """The keys after `after_uri`, up to and including `up_to_uri`, with `videos` videos to analyse."""

    after_uri: str
    up_to_uri: str
    videos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard, with values of its backfill.

    Args:
        submission: a name of its next submission to Prefect, unique across databases.
        model: the setting that selects the model.
    """

    id: int
    number: int
    backfill_id: int
    backfill_status: str
    pool: str
    submission: str
    recipe_id: int
    model: str
    source: str
    selection: Selection

    def __str__(self) -> str:
        return f"shard {self.number} of backfill {self.backfill_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedShard:
    """A submitted shard. `run_status`: status of its run in table `runs`; None while there is no such run."""

    shard: Shard
    flow_run_id: str
    run_status: str | None


def add_backfill(
    connection: Connection,
    *,
    source: str,
    since: datetime | None,
    until: datetime | None,
    recipe_id: int,
    model: str,
    pool: str,
    plan: Mapping[str, Any],
    shards: Sequence[KeyRange],
) -> int:
    """Add an accepted backfill and its shards. Returns the backfill's id."""
    row = {
        "source": source,
        "since": since,
        "until": until,
        "recipe_id": recipe_id,
        "model": model,
        "pool": pool,
        "plan": dict(plan),
    }
    backfill_id: int = connection.execute(insert(_backfills).values(**row).returning(_backfills.c.id)).scalar_one()
    ranges = [(item.after_uri, item.up_to_uri, item.videos) for item in shards]
    names = ("after_uri", "up_to_uri", "videos")
    rows = [
        {"backfill_id": backfill_id, "number": number, **dict(zip(names, values, strict=True))}
        for number, values in enumerate(ranges, 1)
    ]
    connection.execute(insert(_shards), rows)
    return backfill_id


def change_backfill(connection: Connection, backfill_id: int, action: str) -> None:
    """Pause, resume or cancel a backfill. Resuming resets the attempts of its waiting and failed shards.

    Args:
        action: `pause`, `resume` or `cancel`.

    Raises:
        PermanentError: `no_such_backfill`; `backfill_state` if the backfill's status does not allow the action.
    """
    status = connection.execute(
        select(_backfills.c.status).where(_backfills.c.id == backfill_id).with_for_update()
    ).scalar()
    if status is None:
        raise no_such_backfill(connection, backfill_id)
    if status not in _FROM[action]:
        raise PermanentError(
            Reason.BACKFILL_STATE,
            f"backfill {backfill_id} is {status}: {action} needs one that is {_or(_FROM[action])}",
        )
    finished = {"finished_at": func.now() if action == "cancel" else None}
    connection.execute(update(_backfills).where(_backfills.c.id == backfill_id).values(status=_TO[action], **finished))
    if action == "resume":
        connection.execute(
            update(_shards)
            .where(_shards.c.backfill_id == backfill_id, _shards.c.status.in_(("waiting", "failed")))
            .values(status="waiting", attempts=0, not_before=func.now())
        )


def pool_of(connection: Connection, backfill_id: int) -> str:
    """The work pool of a backfill."""
    return str(connection.execute(select(_backfills.c.pool).where(_backfills.c.id == backfill_id)).scalar_one())


def no_such_backfill(connection: Connection, backfill_id: int) -> PermanentError:
    """The error for a number that no backfill has; it has the numbers of the newest."""
    newest = connection.execute(select(_backfills.c.id).order_by(_backfills.c.id.desc()).limit(10)).scalars().all()
    there_are = f"the newest are {', '.join(map(str, newest))}" if newest else "there is none yet"
    return PermanentError(
        Reason.NO_SUCH_BACKFILL,
        f"there is no backfill {backfill_id}: {there_are}; `nightreel backfill status` lists them",
    )


def read_shard(connection: Connection, shard_id: int) -> Shard:
    """Raises PermanentError `no_such_shard`."""
    found = _read(connection, _shards.c.id == shard_id)
    if not found:
        raise PermanentError(Reason.NO_SUCH_SHARD, f"there is no shard {shard_id} in nightreel.backfill_shards")
    return found[0]


def submitted_shards(connection: Connection) -> list[SubmittedShard]:
    runs = schema.runs
    newest = (
        select(runs.c.status)
        .where(runs.c.shard_id == _shards.c.id, runs.c.flow_run_id == _shards.c.flow_run_id)
        .order_by(runs.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(_shards.c.id, _shards.c.flow_run_id, newest.label("run_status")).where(_shards.c.status == "submitted")
    ).all()
    known = {shard.id: shard for shard in _read(connection, _shards.c.id.in_([row.id for row in rows]))}
    return [SubmittedShard(shard=known[row.id], flow_run_id=row.flow_run_id, run_status=row.run_status) for row in rows]


def shards_to_submit(connection: Connection, *, at_once: int) -> list[Shard]:
    """The next shards to submit, so that each running backfill has up to `at_once` shards submitted to Prefect."""
    chosen = connection.execute(statement("shards_to_submit"), {"at_once": at_once}).scalars().all()
    return _read(connection, _shards.c.id.in_(chosen))


def record_submission(connection: Connection, shard: Shard, flow_run_id: str) -> None:
    connection.execute(
        update(_shards)
        .where(_shards.c.id == shard.id)
        .values(status="submitted", flow_run_id=flow_run_id, submissions=_shards.c.submissions + 1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEnd:
    """How a shard's flow run ended before the shard did.

    Args:
        charged: the run broke: it was not cancelled and did not end early by design.
        soon: the cause need not break the next run: its worker died, say.
    """

    detail: str
    charged: bool = True
    soon: bool = True


def requeue_shard(connection: Connection, shard_id: int, end: EarlyEnd) -> None:
    """Set a shard to be submitted again, or to failed if its runs broke too often in a row."""
    broken = _shards.c.attempts + int(end.charged)
    most = _MOST_DEATHS if end.soon else _MOST_ATTEMPTS
    connection.execute(
        update(_shards)
        .where(_shards.c.id == shard_id, _shards.c.status == "submitted")
        .values(
            status=case((broken >= most, "failed"), else_="waiting"),
            attempts=broken,
            detail=end.detail,
            not_before=func.now() + (timedelta() if end.soon else _AGAIN),
        )
    )


def end_shard(connection: Connection, shard: Shard, *, stop: str | None) -> bool:
    """Record that a run of a shard ended cleanly. The shard is done if no work of it is left. Returns whether it is.

    Args:
        stop: why the run ended early; None: it did not.
    """
    counts = connection.execute(statement("shard_counts"), {"shard_id": shard.id}).one()
    values: dict[str, object] = {"attempts": 0, "done": counts.done, "failed": counts.failed}
    if stop is None and not counts.left:
        values |= {"status": "done", "finished_at": func.now(), "detail": None}
    else:
        others = f"other runs hold {counts.left} of its videos, or these wait for their next attempt"
        values |= {"status": "waiting", "detail": stop or others}
        values |= {"not_before": func.now() + (timedelta() if stop else _AGAIN)}
    connection.execute(update(_shards).where(_shards.c.id == shard.id).values(**values))
    return values["status"] == "done"


def close_finished(connection: Connection) -> list[int]:
    """End the running backfills that have no shard left; returns their ids."""
    open_ones = select(_shards.c.id).where(
        _shards.c.backfill_id == _backfills.c.id, _shards.c.status.in_(("waiting", "submitted"))
    )
    broken = select(_shards.c.id).where(_shards.c.backfill_id == _backfills.c.id, _shards.c.status == "failed")
    return list(
        connection.execute(
            update(_backfills)
            .where(_backfills.c.status == "running", ~open_ones.exists())
            .values(status=case((broken.exists(), "failed"), else_="done"), finished_at=func.now())
            .returning(_backfills.c.id)
        ).scalars()
    )


def take_dispatch_turn(connection: Connection) -> bool:
    """Lock the dispatch until the end of the transaction. Returns False if another dispatch is running."""
    key = func.hashtextextended("nightreel backfill dispatch", 0)
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(key))).scalar_one())


def memory_is_wanted(connection: Connection, run_id: int) -> bool:
    """Whether a run that is not a shard's waits for memory that this run holds."""
    return bool(connection.execute(statement("memory_is_wanted"), {"run_id": run_id}).scalar_one())


def backfill_progress(connection: Connection, backfill_id: int | None = None) -> list[RowMapping]:
    """The progress of backfills, the newest first. Unfinished shards are counted now."""
    return list(connection.execute(statement("backfill_progress"), {"backfill_id": backfill_id}).mappings())


def shard_problems(connection: Connection, backfill_id: int) -> list[RowMapping]:
    """Shards that wait for a reason or failed, with the reason."""
    return list(
        connection.execute(
            select(_shards.c.number, _shards.c.status, _shards.c.attempts, _shards.c.detail)
            .where(_shards.c.backfill_id == backfill_id, _shards.c.status != "done", _shards.c.detail.is_not(None))
            .order_by(_shards.c.number)
        ).mappings()
    )


def flow_runs_of(connection: Connection, backfill_id: int) -> list[str]:
    """The flow runs of its submitted shards."""
    return list(
        connection.execute(
            select(_shards.c.flow_run_id).where(_shards.c.backfill_id == backfill_id, _shards.c.status == "submitted")
        ).scalars()
    )


def _read(connection: Connection, condition: Any) -> list[Shard]:
    rows = connection.execute(
        select(
            *(_shards.c[name] for name in ("id", "number", "backfill_id", "submissions", "after_uri", "up_to_uri")),
            *(
                _backfills.c[name]
                for name in ("created_at", "status", "pool", "recipe_id", "model", "source", "since", "until")
            ),
        )
        .join(_backfills, _backfills.c.id == _shards.c.backfill_id)
        .where(condition)
        .order_by(_shards.c.backfill_id, _shards.c.number)
    )
    return [
        Shard(
            id=row.id,
            number=row.number,
            backfill_id=row.backfill_id,
            backfill_status=row.status,
            pool=row.pool,
            submission=f"{row.created_at.timestamp()}-{row.id}-{row.submissions}",
            recipe_id=row.recipe_id,
            model=row.model,
            source=row.source,
            selection=Selection(
                uri_prefix=f"{row.source}/",
                since=row.since,
                until=row.until,
                after_uri=row.after_uri,
                up_to_uri=row.up_to_uri,
            ),
        )
        for row in rows
    ]


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)
