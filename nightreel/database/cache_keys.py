"""The secret keys with which this database signs files of features (`nightreel.cache.signing`).

`stages` reads them when it opens the cache, `nightreel cache rotate-key` adds one. No view and no log shows them.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, delete, func, insert, select

from nightreel.database import schema

_KEY_BYTES = 32
_LOCK = 0x6E72_0005  # an arbitrary constant: the first key is made once

_keys = schema.cache_keys


def read_cache_keys(connection: Connection) -> list[bytes]:
    """All keys, the newest first. Makes the first one."""
    if keys := _read(connection):
        return keys
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    return _read(connection) or [add_cache_key(connection)]


def add_cache_key(connection: Connection) -> bytes:
    """Make a key that signs from now on. The others still verify."""
    secret = secrets.token_bytes(_KEY_BYTES)
    connection.execute(insert(_keys).values(secret=secret))
    return secret


def forget_old_cache_keys(connection: Connection) -> int:
    """Delete all keys but the newest one. Returns how many."""
    newest = select(func.max(_keys.c.id)).scalar_subquery()
    return connection.execute(delete(_keys).where(_keys.c.id < newest)).rowcount


def _read(connection: Connection) -> list[bytes]:
    return [
        bytes(secret) for secret in connection.execute(select(_keys.c.secret).order_by(_keys.c.id.desc())).scalars()
    ]
