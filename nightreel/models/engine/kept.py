"""The file by which the keeper of a vLLM shows it to the runs of its host. `in_use` has the use by a run.

`nightreel engine serve` is the keeper. It holds a lock on a file below the work directory. The kernel releases it when
that process ends, so a file without a lock is a leftover. Only the user of the work directory can read the file and
reach the socket that it names. The file's name has the host and the identity of the model.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nightreel.errors import SettingsError
from nightreel.private import private_directory, private_opener
from nightreel.settings import Settings

_LOOK_EVERY_S = 0.2
_TRIES_S = 2.0  # a run that looks at the file holds its lock for a moment


@dataclass(frozen=True, slots=True)
class KeptEngine:
    """A vLLM that another process of this host keeps.

    Args:
        path: of the file that shows it. socket_path: where it listens. log_path: of its log.
    """

    path: Path
    socket_path: Path
    log_path: Path


def path_of(settings: Settings, model_hash: str) -> Path:
    """The file of the vLLM that serves a model on this host."""
    return settings.work_dir.resolve() / "engine" / "kept" / f"{platform.node()}-{model_hash[:32]}.json"


@contextmanager
def only_keeper(path: Path) -> Iterator[KeepersFile]:
    """Be the only process of this host that keeps vLLM for a model, for the block.

    Raises:
        SettingsError: another one does.
    """
    private_directory(path.parent)
    with open(path, "a+", opener=private_opener) as file:
        give_up_at = time.monotonic() + _TRIES_S
        while not _lock(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > give_up_at:
                raise SettingsError(
                    "another `nightreel engine serve` of this host keeps vLLM for this model: use that one"
                )
            time.sleep(_LOOK_EVERY_S)
        file.truncate(0)
        try:
            yield KeepersFile(path)
        finally:
            file.truncate(0)


@dataclass(frozen=True, slots=True)
class KeepersFile:
    """The locked file of a keeper."""

    path: Path

    def show(self, *, socket_path: Path, log_path: Path) -> None:
        """Let runs use this vLLM from now on."""
        self.path.write_text(json.dumps({"socket": str(socket_path), "log": str(log_path)}) + "\n")


def find_kept(path: Path) -> KeptEngine | None:
    """The vLLM that this file shows; None: this user keeps none, or it is not ready yet."""
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return None  # of another user, where many may write: it could name any socket
            if _lock(file.fileno(), fcntl.LOCK_SH):  # `close` unlocks it
                return None
            shown = json.loads(file.read() or "{}")
    except FileNotFoundError:
        return None
    return KeptEngine(path, Path(shown["socket"]), Path(shown["log"])) if shown else None


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
