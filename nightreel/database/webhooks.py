"""Webhooks: who gets which events, and what became of their deliveries. Their secrets leave this module only to sign.

`webhook_outbox` sends; `flag_changes` adds events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, insert, select, update

from nightreel.database import schema
from nightreel.errors import SettingsError

_SHOWN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook to add.

    Args:
        set_name, prompt: only events of this prompt set and prompt; None: of all.
        least_severity: only flags that have, or had, this severity; None: all flags.
        restricted: also events about restricted videos.
    """

    url: str
    secret: str = field(repr=False)
    set_name: str | None = None
    prompt: str | None = None
    least_severity: int | None = None
    restricted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook and the number of its deliveries by state.

    Args:
        disabled: why it gets no events; None: it gets them.
        old_secret_until: until then the secret of before the last rotation signs too.
        paused_until: until then nothing is sent, as its receiver asked.
    """

    id: int
    url: str
    set_name: str | None
    prompt: str | None
    least_severity: int | None
    restricted: bool
    created_at: datetime
    disabled: str | None
    old_secret_until: datetime | None
    paused_until: datetime | None
    waiting: int
    delivered: int
    dead: int
    dropped: int


def add_webhook(connection: Connection, new: NewWebhook) -> int:
    """Add a webhook. It gets the events of changes from now on. Returns its id."""
    values = {
        "url": new.url,
        "secret": new.secret,
        "set_name": new.set_name,
        "prompt": new.prompt,
        "least_severity": new.least_severity,
        "restricted": new.restricted,
    }
    webhooks = schema.webhooks
    return int(connection.execute(insert(webhooks).values(values).returning(webhooks.c.id)).scalar_one())


def list_webhooks(connection: Connection) -> list[Webhook]:
    """All webhooks, the oldest first."""
    webhooks, deliveries = schema.webhooks, schema.webhook_deliveries
    states = {
        state: func.count().filter(deliveries.c.state == state).label(state)
        for state in ("waiting", "delivered", "dead", "dropped")
    }
    rows = connection.execute(
        select(webhooks, *states.values())
        .join_from(webhooks, deliveries, deliveries.c.webhook_id == webhooks.c.id, isouter=True)
        .group_by(webhooks.c.id)
        .order_by(webhooks.c.id)
    )
    return [_webhook(row) for row in rows]


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        url=row.url,
        set_name=row.set_name,
        prompt=row.prompt,
        least_severity=row.least_severity,
        restricted=row.restricted,
        created_at=row.created_at,
        disabled=row.disabled_reason,
        old_secret_until=row.old_secret_until,
        paused_until=row.paused_until,
        waiting=row.waiting,
        delivered=row.delivered,
        dead=row.dead,
        dropped=row.dropped,
    )


def address_of(connection: Connection, webhook_id: int) -> tuple[str, tuple[str, ...]]:
    """The URL of a webhook, and the secrets that sign. Raises SettingsError if there is none with this id."""
    webhooks = schema.webhooks
    old_secret = case((webhooks.c.old_secret_until > func.now(), webhooks.c.old_secret))
    row = connection.execute(
        select(webhooks.c.url, webhooks.c.secret, old_secret.label("old_secret")).where(webhooks.c.id == webhook_id)
    ).one_or_none()
    if row is None:
        raise _unknown(connection, webhook_id)
    return row.url, tuple(filter(None, (row.secret, row.old_secret)))


def rotate_secret(connection: Connection, webhook_id: int, secret: str, *, keep_old: timedelta | None) -> None:
    """Give a webhook a new secret. Raises SettingsError if there is none with this id.

    Args:
        keep_old: for so long the secret of before signs too; None: no longer.
    """
    webhooks = schema.webhooks
    old: dict[str, Any] = {"old_secret": None, "old_secret_until": None}
    if keep_old is not None:
        old = {"old_secret": webhooks.c.secret, "old_secret_until": func.now() + keep_old}
    changed = connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(secret=secret, **old))
    if not changed.rowcount:
        raise _unknown(connection, webhook_id)


def remove_webhook(connection: Connection, webhook_id: int) -> None:
    """Remove a webhook with its deliveries. Raises SettingsError if there is none with this id."""
    if not connection.execute(delete(schema.webhooks).where(schema.webhooks.c.id == webhook_id)).rowcount:
        raise _unknown(connection, webhook_id)


def dead_deliveries(connection: Connection) -> Sequence[Row[Any]]:
    """The newest 1,000 deliveries whose attempts all failed, the newest first."""
    deliveries = schema.webhook_deliveries
    columns = ("id", "event_id", "webhook_id", "type", "attempts", "status", "error", "created_at", "ended_at")
    return connection.execute(
        select(*(deliveries.c[name] for name in columns))
        .where(deliveries.c.state == "dead")
        .order_by(deliveries.c.id.desc())
        .limit(_SHOWN)
    ).all()


def retry_dead(connection: Connection, webhook_id: int | None = None) -> int:
    """Queue dead deliveries again, with all their attempts. A webhook that is named is enabled, and its
    pause ends. Returns their number.

    Args:
        webhook_id: only of this webhook; None: of all that are enabled.

    Raises:
        SettingsError: there is no webhook with this id.
    """
    webhooks, deliveries = schema.webhooks, schema.webhook_deliveries
    if webhook_id is None:
        enabled = select(webhooks.c.id).where(webhooks.c.disabled_at.is_(None))
        condition: ColumnElement[bool] = deliveries.c.webhook_id.in_(enabled)
    else:
        found = connection.execute(
            update(webhooks)
            .where(webhooks.c.id == webhook_id)
            .values(disabled_at=None, disabled_reason=None, paused_until=None)
        )
        if not found.rowcount:
            raise _unknown(connection, webhook_id)
        condition = deliveries.c.webhook_id == webhook_id
    again = {"state": "waiting", "ended_at": None, "attempts": 0, "next_at": func.now()}
    return connection.execute(update(deliveries).where(condition, deliveries.c.state == "dead").values(again)).rowcount


def _unknown(connection: Connection, webhook_id: int) -> SettingsError:
    known = connection.execute(select(schema.webhooks.c.id).order_by(schema.webhooks.c.id)).scalars().all()
    there_are = f"there are {', '.join(map(str, known))}" if known else "there are none; `nightreel webhooks add`"
    return SettingsError(f"there is no webhook {webhook_id}: {there_are}")
