"""The outbox of webhooks: the next delivery that is due, and what became of it.

A delivery is locked from its selection until its outcome is written, in one transaction that includes the request. So
two deliverers never send one at the same time, and the locks of a process that dies are free immediately. If it dies
after the request, the delivery is sent again, with the same id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, exists, func, select, update

from nightreel.database import schema
from nightreel.database.statements import statement

_DELETED = 10_000  # rows in one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event to send. `attempts`: that failed so far. `is_forbidden`: its video is restricted, its webhook is not."""

    id: int
    event_id: str
    webhook_id: int
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    attempts: int
    is_forbidden: bool


def due_webhooks(connection: Connection) -> list[int]:
    """The ids of webhooks with deliveries that are due."""
    webhooks, deliveries = schema.webhooks, schema.webhook_deliveries
    is_due = exists().where(
        deliveries.c.webhook_id == webhooks.c.id,
        deliveries.c.state == "waiting",
        deliveries.c.next_at <= func.now(),
    )
    is_paused = webhooks.c.paused_until > func.now()
    query = select(webhooks.c.id).where(webhooks.c.disabled_at.is_(None), is_paused.isnot(True), is_due)
    query = query.order_by(webhooks.c.id)
    return list(connection.execute(query).scalars())


def lock_next(connection: Connection, webhook_id: int) -> Delivery | None:
    """Lock the delivery of a webhook that has been due for longest, and that no other transaction has locked."""
    row = connection.execute(statement("next_delivery"), {"webhook_id": webhook_id}).one_or_none()
    if row is None:
        return None
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        webhook_id=row.webhook_id,
        url=row.url,
        secrets=tuple(filter(None, (row.secret, row.old_secret))),
        payload=row.payload,
        attempts=row.attempts,
        is_forbidden=row.is_restricted and not row.may_be_restricted,
    )


def record_delivered(connection: Connection, delivery: Delivery, *, status: int) -> None:
    attempts = delivery.attempts + 1
    _end(connection, delivery, "delivered", status=status, error=None, attempts=attempts)


def record_failed(
    connection: Connection, delivery: Delivery, *, status: int | None, error: str, wait_s: float | None
) -> None:
    """Record a failed attempt.

    Args:
        status: of the response; None: there was none.
        wait_s: until the next attempt; None: it was the last one.
    """
    attempts = delivery.attempts + 1
    if wait_s is None:
        _end(connection, delivery, "dead", status=status, error=error, attempts=attempts)
        return
    # The transaction began before the request.
    next_at = func.clock_timestamp() + timedelta(seconds=wait_s)
    _write(connection, delivery, status=status, error=error, attempts=attempts, next_at=next_at)


def drop(connection: Connection, delivery: Delivery, *, why: str) -> None:
    """Give up a delivery that must not be sent, and delete its payload."""
    _end(connection, delivery, "dropped", error=why, payload=None)


def pause_webhook(connection: Connection, webhook_id: int, *, for_s: float) -> None:
    """Send nothing to a webhook for some seconds."""
    until = func.clock_timestamp() + timedelta(seconds=for_s)
    connection.execute(update(schema.webhooks).where(schema.webhooks.c.id == webhook_id).values(paused_until=until))


def disable_webhook(connection: Connection, webhook_id: int, *, why: str) -> None:
    """Send nothing to a webhook any more. What waits for it is dead: `webhooks.retry_dead` takes both back."""
    webhooks, deliveries = schema.webhooks, schema.webhook_deliveries
    connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
        .values(disabled_at=func.now(), disabled_reason=why)
    )
    # Those that another deliverer is sending end with its outcome.
    waiting = (
        select(deliveries.c.id)
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.state == "waiting")
        .with_for_update(skip_locked=True)
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(waiting))
        .values(state="dead", ended_at=func.now(), error=f"not sent: {why}")
    )


def forget_old_secrets(connection: Connection) -> None:
    """Delete old secrets that sign nothing any more."""
    webhooks = schema.webhooks
    connection.execute(
        update(webhooks).where(webhooks.c.old_secret_until <= func.now()).values(old_secret=None, old_secret_until=None)
    )


def delete_ended(connection: Connection, *, keep_days: int) -> int:
    """Delete deliveries that were delivered or dropped this many days ago, at most 10,000. Returns their number."""
    deliveries = schema.webhook_deliveries
    old = (
        select(deliveries.c.id)
        .where(
            deliveries.c.state.in_(["delivered", "dropped"]),
            deliveries.c.ended_at < func.now() - timedelta(days=keep_days),
        )
        .limit(_DELETED)
    )
    return connection.execute(delete(deliveries).where(deliveries.c.id.in_(old))).rowcount


def _end(connection: Connection, delivery: Delivery, state: str, **values: Any) -> None:
    _write(connection, delivery, state=state, ended_at=func.clock_timestamp(), **values)


def _write(connection: Connection, delivery: Delivery, **values: Any) -> None:
    deliveries = schema.webhook_deliveries
    connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(**values))
