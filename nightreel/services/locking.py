"""Locks and small files that several commands share: flock, and files replaced in one step.

`process` uses it. It knows nothing of servers. A flock belongs to an open file. The kernel releases it when the last
process that has the file open ends, even by kill -9, so no lock here is ever stale.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightreel.errors import TransientError
from nightreel.reasons import Reason

_POLL_S = 0.05


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file. Returns False if another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_locked(path: Path, *, timeout_s: float) -> int:
    """Open the file, create it if missing, and take its exclusive lock. The caller closes the returned descriptor.

    Raises:
        TransientError("service_locked"): another process held it for `timeout_s`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout_s
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TransientError(
                    Reason.SERVICE_LOCKED,
                    f"another process has held {path} for {timeout_s:.0f} s: wait for it, or stop it",
                )
            time.sleep(_POLL_S)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the exclusive lock of a file during the body. Raises like `open_locked`."""
    descriptor = open_locked(path, timeout_s=timeout_s)
    try:
        yield
    finally:
        release(descriptor)


def release(descriptor: int) -> None:
    """Release a lock, even if a forked child still has the file open."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether some process holds the exclusive lock of this file. Changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone. Readers see the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
