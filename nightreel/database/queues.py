"""The queues in force, and how far the stored verdicts are sorted into them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.statements import statement
from nightreel.domain.queues import Queue, Queues

_policies = schema.queue_policies
Lock = Literal["share", "alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesInForce:
    """The queues in force. `id`: of their row. `ids`: of the queues, by name."""

    id: int
    queues: Queues
    ids: dict[str, int]
    made_by: str
    since: datetime
    progress: int
    applied_at: datetime | None

    def queue(self, queue_id: int) -> Queue:
        """A queue by its number. One that is not in force any more takes nothing, and all reviewers may work it."""
        name = next(name for name, one in self.ids.items() if one == queue_id)
        return self.queues[name] if name in self.queues else Queue(name=name)


def queues_in_force(connection: Connection, *, lock: Lock | None = None) -> QueuesInForce | None:
    """The newest queues; None before the first `nightreel db upgrade`.

    Args:
        lock: keep them in force until the transaction ends: `share` for one that sorts a few videos into them, `alone`
            for one that brings others into force, or sorts all videos.
    """
    ids = select(func.jsonb_object_agg(schema.queues.c.name, schema.queues.c.id)).scalar_subquery()
    newest = select(_policies, ids.label("ids")).order_by(_policies.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    while lock is not None and row is not None:
        own = newest.where(_policies.c.id == row.id).with_for_update(read=lock == "share", of=_policies)
        locked = connection.execute(own).one()
        row = connection.execute(newest).one()
        if row.id == locked.id:  # else others came into force while this transaction waited
            break
    return _in_force(row) if row else None


def bring_into_force(connection: Connection, queues: Queues, *, made_by: str) -> bool:
    """Bring queues into force. Returns whether they are others than before. `stages.sort` sorts videos into them."""
    newest = queues_in_force(connection, lock="alone")
    if newest is not None and newest.queues.hash == queues.hash:
        return False
    names = insert(schema.queues).values([{"name": queue.name} for queue in queues.queues])
    connection.execute(names.on_conflict_do_nothing())
    values = {"definition": queues.to_json(), "hash": queues.hash, "made_by": made_by}
    connection.execute(insert(_policies).values(values))
    return True


def record_sorted(connection: Connection, policy_id: int, video_id: int | None) -> None:
    """Record that the videos up to this one are sorted into the queues; None: all are."""
    done = {"applied_at": func.now()} if video_id is None else {"progress": video_id}
    connection.execute(update(_policies).where(_policies.c.id == policy_id).values(done))


def videos_to_sort(connection: Connection, *, after: int, limit: int) -> list[int]:
    """The next videos with a verdict that a person should see, or that audits ask people about."""
    return list(connection.execute(statement("videos_to_sort"), {"after": after, "limit": limit}).scalars())


def _in_force(row: Row[Any]) -> QueuesInForce:
    return QueuesInForce(
        id=row.id,
        queues=Queues.from_json(row.definition),
        ids=row.ids,
        made_by=row.made_by,
        since=row.since,
        progress=row.progress,
        applied_at=row.applied_at,
    )
