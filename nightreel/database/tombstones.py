"""What was erased, as far as one can tell: discovery leaves out erased objects, and no run analyses erased contents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, text

from nightreel.database import schema
from nightreel.domain import TombstoneKey
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_tombstones = schema.tombstones.c
# By the index; Postgres has min(bytea) since version 18.
_FIRST_AND_LAST_KEY = select(
    *(
        select(_tombstones.key_id).order_by(order).limit(1).scalar_subquery()
        for order in (_tombstones.key_id, _tombstones.key_id.desc())
    )
)
_LOCK_CONTENT = text("SELECT pg_advisory_xact_lock(hashtextextended('nightreel content ' || :content, 0))")


def without_erased(
    connection: Connection, listed: Sequence[Row[Any]], key: TombstoneKey | None
) -> tuple[Sequence[Row[Any]], int]:
    """The versions of objects that were not erased, and the number of those that were.

    Args:
        listed: rows with `uri` and `etag`.

    Raises:
        PermanentError: as `require_key`.
    """
    if not listed or not require_key(connection, key):
        return listed, 0
    assert key is not None, "require_key has one"
    macs = {key.of_version(row.uri, row.etag): row for row in listed}
    erased = _found(connection, macs)
    return [row for mac, row in macs.items() if mac not in erased], len(erased)


def refuse_erased(connection: Connection, key: TombstoneKey | None, *, uri: str, content_sha256: str) -> None:
    """Refuse a content that was erased. Until the transaction ends, an erasure of it waits.

    Raises:
        PermanentError: `erased`; as `require_key`.
    """
    connection.execute(_LOCK_CONTENT, {"content": content_sha256})
    if not require_key(connection, key):
        return
    assert key is not None, "require_key has one"
    if _found(connection, [key.of_content(content_sha256), key.of_copy(uri, content_sha256)]):
        raise PermanentError(Reason.ERASED, "these bytes were erased on request or by retention, and are not analysed")


def erasures_of(connection: Connection, macs: Collection[bytes]) -> list[int]:
    """The numbers of the erasures that left one of these tombstones."""
    query = select(_tombstones.erasure_id).where(_tombstones.mac.in_(macs)).distinct()
    return sorted(connection.execute(query).scalars())


def require_key(connection: Connection, key: TombstoneKey | None) -> bool:
    """Whether something was erased.

    Raises:
        PermanentError: `tombstone_key`: something was, and this secret does not recognise it.
    """
    first, last = connection.execute(_FIRST_AND_LAST_KEY).one()
    if first is None:
        return False
    if key is None or {first, last} != {key.id}:
        raise PermanentError(
            Reason.TOMBSTONE_KEY,
            "videos were erased with a secret that this host does not have, so it could bring them back: copy "
            "tombstone.key from the work directory of the host that erased, or set "
            "NIGHTREEL_TOMBSTONE_KEY as there",
        )
    return True


def _found(connection: Connection, macs: Collection[bytes]) -> set[bytes]:
    return set(connection.execute(select(_tombstones.mac).where(_tombstones.mac.in_(macs))).scalars())
