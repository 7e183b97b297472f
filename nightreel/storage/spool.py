"""The spool: local disk for files between fetching and decoding, up to a limit of bytes.

`encode` takes a directory for each fetch and returns it when the frames are decoded. The spool does not know where
files come from or what they hold.

Fetching runs ahead of decoding until the spool holds `limit_bytes`, the high water mark. Then it pauses until the held
bytes fall to the low water mark. So fetches come in batches that keep the network busy, not one by one as files are
deleted. Threads are served in order, so small files do not overtake a large one forever.

    with Spool(Path(".nightreel/spool"), limit_bytes=10 << 30) as spool:
        with spool.admit(size_bytes) as directory:      # blocks while the disk is full
            storage.fetch(uri, ..., destination=directory / "video")
        # deleted
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from nightreel.private import private_directory, private_opener
from nightreel.storage.disk import write_error

_log = logging.getLogger(__name__)
_LOCK = "lock"


class Spool:
    """Directories for fetched files, for any number of threads of one process. Several processes may share `directory`.

    Each process works in its own directory and holds a lock on it (flock, which always ends with the process). The next
    process that starts removes unlocked directories.

    Args:
        directory: created if it is missing.
        limit_bytes: high water mark. A larger file is admitted when the spool is empty.
        low_water: share of the limit to which a full spool drains before it admits files again.
        on_full: called when a file must wait, to release what is kept only in case it is needed again.

    Raises:
        TransientError: `disk_full`. PermanentError: `access_denied`.
    """

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        *,
        low_water: float = 0.75,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        assert limit_bytes > 0, f"{limit_bytes = }"
        assert 0 <= low_water <= 1, f"{low_water = }"
        self._limit_bytes = limit_bytes
        self._on_full = on_full
        self._low_bytes = int(limit_bytes * low_water)
        self._held_bytes = 0
        self._held_files = 0
        self._draining = False
        self._waiting: deque[threading.Condition] = deque()
        self._lock = threading.Lock()
        try:
            self._own, self._own_fd = _claim(directory)
        except OSError as error:
            raise write_error(error, directory) from error

    @property
    def held_bytes(self) -> int:
        """Expected bytes of all files admitted and not yet released."""
        return self._held_bytes

    @property
    def is_awaited(self) -> bool:
        """Whether a file waits for room."""
        return bool(self._waiting)

    @contextmanager
    def admit(self, size_bytes: int) -> Iterator[Path]:
        """Yield an empty private directory for a file of `size_bytes`. It is deleted at the end of the block.

        Blocks while the spool is full. A thread that holds another file may deadlock here.

        Raises:
            TransientError: `disk_full`. PermanentError: `access_denied`.
        """
        assert size_bytes >= 0, f"{size_bytes = }"
        self._acquire(size_bytes)
        directory = self._own / uuid.uuid4().hex
        try:
            try:
                directory.mkdir(mode=0o700)
            except OSError as error:
                raise write_error(error, directory) from error
            yield directory
        finally:
            try:
                _remove(directory)
            finally:
                self._release(size_bytes)

    def close(self) -> None:
        """Delete everything. Open blocks lose their files."""
        if self._own_fd >= 0:
            _remove(self._own)
            os.close(self._own_fd)
            self._own_fd = -1

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _acquire(self, size_bytes: int) -> None:
        turn = threading.Condition(self._lock)
        with self._lock:
            self._waiting.append(turn)
            must_wait = self._waiting[0] is not turn or not self._has_room(size_bytes)
        try:
            if must_wait:
                self._on_full()
            with self._lock:
                while self._waiting[0] is not turn or not self._has_room(size_bytes):
                    turn.wait()
                self._held_bytes += size_bytes
                self._held_files += 1
        finally:  # also when this thread is interrupted while it waits
            with self._lock:
                self._waiting.remove(turn)
                self._call_next()

    def _has_room(self, size_bytes: int) -> bool:
        if not self._held_files:
            self._draining = False
            return True
        if self._draining and self._held_bytes > self._low_bytes:
            return False
        self._draining = self._held_bytes + size_bytes > self._limit_bytes
        return not self._draining

    def _release(self, size_bytes: int) -> None:
        with self._lock:
            self._held_bytes -= size_bytes
            self._held_files -= 1
            self._call_next()

    def _call_next(self) -> None:
        if self._waiting:
            self._waiting[0].notify()


def _claim(directory: Path) -> tuple[Path, int]:
    """Remove dead processes' directories and create one for this process. Returns it and the descriptor of its lock."""
    private_directory(directory)
    with open(directory / _LOCK, "a", opener=private_opener) as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # so no process removes a directory that is created but not yet locked
        for left in directory.iterdir():
            if left.name != _LOCK:
                _remove_if_dead(left)
        own = directory / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        own.mkdir(mode=0o700)
        fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return own, fd


def _remove_if_dead(left: Path) -> None:
    try:
        fd = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        _log.warning("the spool keeps %s, which cannot be opened: %s", left, error.strerror)
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # its process still runs
    else:
        _log.info("removing a dead process's files from the spool: %s", left)
        _remove(left)
    finally:
        os.close(fd)


def _remove(directory: Path) -> None:
    """Delete a directory. Failures are logged, not raised: they must not hide the first error."""
    shutil.rmtree(directory, onerror=_report)


def _report(_: object, path: str, error: tuple[type[BaseException], BaseException, TracebackType]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        _log.warning("cannot delete %s: %s", path, error[1])
