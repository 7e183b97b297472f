"""Which decoder process answers a call: one that has read this very file, or a new one.

Called by `sandbox`, from any thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nightreel.errors import TransientError
from nightreel.media.fork_server import DecoderProcess, ForkServer
from nightreel.media.media_file import FileId, MediaFile, file_id
from nightreel.reasons import Reason


@dataclass(frozen=True, slots=True)
class _Idle:
    """A process that may answer further calls about its file."""

    file_id: FileId
    process: DecoderProcess


class DecoderSlots:
    """At most `workers` processes that run, and as many in all. Further calls wait."""

    def __init__(self, server: ForkServer, *, workers: int) -> None:
        self._server = server
        self._workers = workers
        self._slots = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._running = 0
        self._idle: list[_Idle] = []  # the longest idle first
        self.closed = False

    @contextmanager
    def process_of(self, file: MediaFile) -> Iterator[DecoderProcess]:
        """A process that has read this file or none. It is kept unless it ended, or the block raises an error.

        Raises:
            TransientError: `decoder_pool_closed`, or as `ForkServer.spawn`.
        """
        wanted = file_id(os.fstat(file.fd))
        with self._slots:
            if self.closed:
                raise TransientError(Reason.DECODER_POOL_CLOSED, f"{file.name} was not decoded: the pool is closed")
            process, surplus = self._take(wanted)
            try:
                for other in surplus:
                    other.end()
                process = process or self._server.spawn()
                yield process
            except BaseException:
                if process:
                    process.end()
                raise
            finally:
                self._give_back(wanted, process)

    def _take(self, wanted: FileId) -> tuple[DecoderProcess | None, list[DecoderProcess]]:
        """An idle process of the file, and those that have to end to make room for a running one."""
        with self._lock:
            known = next((idle for idle in self._idle if idle.file_id == wanted), None)
            if known:
                self._idle.remove(known)
            self._running += 1
            surplus = self._idle[: max(0, self._running + len(self._idle) - self._workers)]
            del self._idle[: len(surplus)]
        return known.process if known else None, [idle.process for idle in surplus]

    def _give_back(self, file_id: FileId, process: DecoderProcess | None) -> None:
        with self._lock:
            self._running -= 1
            if process and not process.ended:
                self._idle.append(_Idle(file_id, process))
        if self.closed:
            self.end_idle()

    def end_idle(self, file_id: FileId | None = None) -> None:
        """End the idle processes of a file, or all."""
        with self._lock:
            chosen = [idle for idle in self._idle if file_id in (None, idle.file_id)]
            self._idle = [idle for idle in self._idle if idle not in chosen]
        for idle in chosen:
            idle.process.end()

    def close(self) -> None:
        """Let no further call begin, and end the idle processes. May be called twice."""
        self.closed = True
        self.end_idle()
