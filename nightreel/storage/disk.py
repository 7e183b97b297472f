"""Write to a local disk that may be full: whole files or none, and clear errors. Used by both storages."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.host_errors import host_error
from nightreel.reasons import Reason

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # EFBIG: a file-size limit of the process or of the filesystem


@dataclass(frozen=True, slots=True)
class Place:
    """What a directory is for: the setting that names it, and what makes room in it."""

    setting: str
    room: str


SPOOL = Place("NIGHTREEL_WORK_DIR", "lower NIGHTREEL_SPOOL_MIB")
PREVIEWS = Place("NIGHTREEL_WORK_DIR", "lower NIGHTREEL_CONSOLE_PREVIEWS_MIB")
CACHE = Place("NIGHTREEL_CACHE_URL", "set NIGHTREEL_CACHE_LIMIT_GIB or run `nightreel cache evict --to GIB`")


def write_error(error: OSError, path: Path | str, place: Place = SPOOL) -> NightreelError:
    """Translate an error of writing below `path`."""
    way_out = f"free disk space, {place.room}, or set {place.setting} to a larger disk"
    if of_host := host_error(error, doing=f"cannot write {path}", way_out=way_out):
        return of_host
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermanentError(
            Reason.ACCESS_DENIED,
            f"cannot write {path} ({error.strerror}): give this user write permission, or set {place.setting} to "
            "another directory",
        )
    return TransientError(Reason.DISK_FAILED, f"cannot write {path}: {error.strerror or error}")


@contextmanager
def new_file(destination: Path) -> Iterator[int]:
    """Yield a file descriptor, open for reading and writing, of a hidden file that becomes `destination` on success.

    On an error nothing remains. OSErrors inside the block count as write errors: translate others before raising them.

    Raises:
        TransientError: a reason of the host, such as `disk_full`.
        PermanentError: `access_denied`.
    """
    temporary = destination.with_name(f".{uuid.uuid4().hex}.part")
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)
        temporary.replace(destination)
    except BaseException as error:
        with suppress(OSError):  # the first error matters; the file may not even exist
            temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(error, destination) from error
        raise


def reserve(fd: int, size_bytes: int) -> None:
    """Reserve `size_bytes` on disk, so a full disk fails before the download and not near its end.

    Raises:
        OSError: there is no room.
    """
    if size_bytes:
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise  # other errors: this filesystem cannot reserve; a write fails if the disk is full


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """`pwrite` until all data is written."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
