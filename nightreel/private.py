"""Files and directories that only their owner may read, whatever the umask of the process is.

Everything below the work directory is made with it, and what a `file://` cache publishes. Questions, answers and frames
of videos are nobody else's, and some files are secrets.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

UMASK = 0o077
_DIRECTORY, _FILE = 0o700, 0o600
_OURS = (
    "postgres",
    "prefect",
    "prefect-client",
    "prefect-home",
    "prefect-ui",
    "features",
    "spool",
    "previews",
    "models",
    "engine",
    "demo",
    "tombstone.key",
)

logger = logging.getLogger(__name__)


def tighten_work_dir(work_dir: Path) -> None:
    """Take the rights of other users from a work directory that an older version made, and from all that is ours in it.

    A directory that holds other things than ours keeps its mode: it may be /tmp.

    Raises:
        OSError: it cannot be listed.
    """
    if not work_dir.is_dir():
        return
    closed = [name for name in _OURS if tighten(work_dir / name)]
    if {entry.name for entry in work_dir.iterdir()} <= set(_OURS) and tighten(work_dir):
        closed = ["all"]
    if closed:
        logger.warning("other users could read %s: now they cannot (%s)", work_dir, ", ".join(closed))


def private_directory(path: Path) -> None:
    """Make a directory and the missing ones above it, each with mode 0700. An existing one stays as it is.

    Raises:
        OSError: as `Path.mkdir`.
    """
    if not path.is_dir():
        if path.parent != path:
            private_directory(path.parent)
        path.mkdir(mode=_DIRECTORY, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """For `open(..., opener=private_opener)`: a file that it creates has mode 0600."""
    return os.open(path, flags | os.O_CLOEXEC, _FILE)


def tighten(directory: Path) -> bool:
    """Take the rights of other users from a directory and all below it, if the directory gives them any.

    A directory without such rights is not read: nobody reaches what is below it. Entries of other users stay as they
    are. Links are not followed.

    Returns:
        Whether rights were taken.
    """
    try:
        status = directory.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode) or not status.st_mode & UMASK:
        return False
    close_below(directory)
    _close(directory)  # last: if this is interrupted, the next call does the rest
    return True


def close_below(directory: Path) -> None:
    """Take the rights of other users from all below a directory. Links are not followed."""
    for place, directories, files in os.walk(directory):
        for name in (*directories, *files):
            _close(Path(place) / name)


def _close(path: Path) -> None:
    with suppress(OSError):  # deleted meanwhile, or it belongs to another user
        status = path.lstat()
        if status.st_mode & UMASK and not stat.S_ISLNK(status.st_mode):
            path.chmod(stat.S_IMODE(status.st_mode) & ~UMASK, follow_symlinks=False)
