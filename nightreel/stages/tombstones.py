"""The secret by which erased objects are recognised: a setting, or a file that the first erasure makes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress

from nightreel.domain import TombstoneKey
from nightreel.errors import PermanentError
from nightreel.private import private_directory, private_opener
from nightreel.reasons import Reason
from nightreel.settings import Settings

FILE = "tombstone.key"
ReadTombstoneKey = Callable[[], TombstoneKey | None]
"""Reads the secret each time: it may be made while a run is working."""


def read_tombstone_key(settings: Settings) -> TombstoneKey | None:
    """The secret of this host; None: it has none.

    Raises:
        PermanentError: `tombstone_key`: its file cannot be read.
    """
    if settings.tombstone_key is not None:
        return TombstoneKey(settings.tombstone_key.get_secret_value().encode())
    path = settings.work_dir / FILE
    try:
        return TombstoneKey(bytes.fromhex(path.read_text("ascii").strip()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AssertionError) as error:
        raise PermanentError(
            Reason.TOMBSTONE_KEY, f"{path} holds no secret ({error}): copy it from another host or a backup"
        ) from error


def no_tombstone_key() -> None:
    """For a host without a secret."""


def make_tombstone_key(settings: Settings) -> TombstoneKey:
    """Make the file of the secret, unless another process was faster, and read it."""
    path = settings.work_dir / FILE
    private_directory(path.parent)
    temporary = path.with_name(f".{FILE}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(temporary, "x", encoding="ascii", opener=private_opener) as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    key = read_tombstone_key(settings)
    assert key is not None, "it was just made"
    return key
