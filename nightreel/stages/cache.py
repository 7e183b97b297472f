"""The feature cache of a run or a command, with the keys that sign its files: the settings' first, then the database's.

A database makes a key of its own at first use. Databases that share a cache state one secret, `NIGHTREEL_CACHE_KEY`.
"""

from __future__ import annotations

from collections.abc import Callable

from nightreel.cache.features import FeatureCache
from nightreel.cache.signing import CacheKeys
from nightreel.database.cache_keys import add_cache_key, forget_old_cache_keys, read_cache_keys
from nightreel.database.connection import Database
from nightreel.errors import SettingsError
from nightreel.settings import Settings
from nightreel.storage import open_storage


def open_cache(
    settings: Settings, database: Database, *, on_rejected: Callable[[], None] = lambda: None
) -> FeatureCache:
    """Open the cache of the settings. Does not access its storage.

    Args:
        on_rejected: as `FeatureCache`.
    """
    with database.begin() as connection:
        keys = CacheKeys([*settings.cache_keys, *read_cache_keys(connection)])
    return FeatureCache(open_storage(settings.cache_prefix, settings), keys=keys, on_rejected=on_rejected)


def rotate_cache_key(settings: Settings, database: Database, *, forget_old: bool = False) -> int:
    """Make a new key of the database. Runs that start now sign with it.

    Args:
        forget_old: accept no file of the older keys, unless it has a row in the index.

    Returns:
        The number of forgotten keys.

    Raises:
        SettingsError: `NIGHTREEL_CACHE_KEY` is set, so no key of the database signs.
    """
    if settings.cache_keys:
        raise SettingsError(
            "NIGHTREEL_CACHE_KEY is set, so its first secret signs files, not a key of the database: write a new "
            "secret and a comma before it, on every host"
        )
    with database.begin() as connection:
        read_cache_keys(connection)
        add_cache_key(connection)
        return forget_old_cache_keys(connection) if forget_old else 0
