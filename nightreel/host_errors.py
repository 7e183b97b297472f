"""Which errors are the host's: a disk, a limit or a memory that is used up. They are no video's fault.

This module alone decides it, by the number of the operating system's error, or by the words of libraries that lose the
number (torch, PyArrow, threading). Whoever translates an OSError asks it first. `orchestration.task` asks it about all
that the stages did not translate.

>>> error = host_error(OSError(errno.EMFILE, "Too many open files"))
>>> error.reason, host_error(OSError(errno.ENOENT, "No such file or directory"))
(<Reason.TOO_MANY_OPEN_FILES: 'too_many_open_files'>, None)
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from nightreel.errors import NightreelError, TransientError
from nightreel.reasons import Reason

_TOO_LARGE = "File too large"
_RAISE_FILE_SIZE = (
    "raise the limit of this process (`ulimit -f`, systemd's LimitFSIZE), or lower NIGHTREEL_MAX_BYTES, which refuses "
    "larger files"
)
_BY_NUMBER = {
    errno.ENOSPC: Reason.DISK_FULL,
    errno.EDQUOT: Reason.DISK_FULL,
    errno.EFBIG: Reason.DISK_FULL,
    errno.EMFILE: Reason.TOO_MANY_OPEN_FILES,
    errno.ENFILE: Reason.TOO_MANY_OPEN_FILES,
    errno.ENOMEM: Reason.HOST_MEMORY,
    errno.ENOBUFS: Reason.HOST_MEMORY,
}
# For errors without a number. An OSError with one may have the name of a file in its text, which is not trusted.
_BY_WORDS = {
    "No space left on device": Reason.DISK_FULL,
    "Disk quota exceeded": Reason.DISK_FULL,
    _TOO_LARGE: Reason.DISK_FULL,
    "Too many open files": Reason.TOO_MANY_OPEN_FILES,
    "DefaultCPUAllocator": Reason.HOST_MEMORY,
    "Cannot allocate memory": Reason.HOST_MEMORY,
    "std::bad_alloc": Reason.HOST_MEMORY,
    "can't start new thread": Reason.TOO_MANY_PROCESSES,
}
_WAYS_OUT = {
    Reason.DISK_FULL: "free disk space, lower NIGHTREEL_SPOOL_MIB, or set NIGHTREEL_WORK_DIR to a larger disk",
    Reason.TOO_MANY_OPEN_FILES: "raise the limit of this process (`ulimit -n`, systemd's LimitNOFILE), or lower "
    "NIGHTREEL_DECODE_WORKERS and NIGHTREEL_CHUNKS_IN_FLIGHT",
    Reason.HOST_MEMORY: "give this host or container more memory, or lower NIGHTREEL_CHUNK_SEGMENTS and "
    "NIGHTREEL_DECODE_WORKERS",
    Reason.TOO_MANY_PROCESSES: "raise the limit of processes (`ulimit -u`, systemd's TasksMax, a container's pids "
    "limit), or lower NIGHTREEL_DECODE_WORKERS",
}


def host_error(error: BaseException | None, *, doing: str = "", way_out: str = "") -> TransientError | None:
    """The error of this project for an error that is the host's; None for any other error.

    Args:
        doing: what failed, such as "cannot write /tmp/x"; empty: the error says it.
        way_out: what to do if the disk is full; empty: the settings of the spool.
    """
    for link in _chain(error):
        reason = _reason_of(link)
        if reason is not None:
            said = getattr(link, "strerror", None) or str(link).split("\n", 1)[0][:200] or type(link).__name__
            what = f"{doing} ({said})" if doing else said
            return TransientError(reason, f"{what}: {_way_out(link, reason, way_out)}")
    return None


def _way_out(error: BaseException, reason: Reason, of_disk: str) -> str:
    if getattr(error, "errno", None) == errno.EFBIG or _TOO_LARGE in str(error):
        return _RAISE_FILE_SIZE
    return of_disk if of_disk and reason is Reason.DISK_FULL else _WAYS_OUT[reason]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on; up to an error of this project, which is decided."""
    seen = set[int]()
    while error is not None and id(error) not in seen and not isinstance(error, NightreelError):
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _reason_of(error: BaseException) -> Reason | None:
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int):
        return _BY_NUMBER.get(number)
    if isinstance(error, MemoryError):
        return Reason.HOST_MEMORY
    if isinstance(error, RuntimeError | OSError):
        text = str(error)
        return next((reason for words, reason in _BY_WORDS.items() if words in text), None)
    return None
