"""A background server that several commands share: the first command starts it, the last one stops it.

`endpoints` uses it. `postgres` and `prefect_server` define the individual servers. The files of a server:

    lock          held during start, join, leave and stop; never while waiting for readiness
    users/PID.N   one for each command that uses the server; the command locks it during that time
    running       locked by the server, which inherits the open file; free once it and its children have ended
    state.json    port, pid and command line of the server, and whether `up` keeps it running
    server.log    the server's output

Locks end with their process, so a command or a server killed with -9 leaves nothing to clean up.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from nightreel.errors import PermanentError, TransientError
from nightreel.private import private_directory, private_opener
from nightreel.reasons import Reason
from nightreel.services.locking import is_locked, locked, open_locked, release
from nightreel.services.program import Launch, Program
from nightreel.services.state import (
    ServerState,
    find_process,
    free_port,
    is_free,
    pids_with_open,
    read_state,
    write_state,
)

_LOCK_TIMEOUT_S = 120.0  # the longest operations under the lock: initdb on a slow disk, a fast shutdown
_ORPHANS_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.05
_LOG_LIMIT_BYTES = 16 * 2**20
_LOG_TAIL_LINES = 15
_serial = itertools.count()


class SharedServer:
    """One server of one work directory, used by one command."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.directory = program.directory
        self.log_path = self.directory / "server.log"
        self._lock_path = self.directory / "lock"
        self._users_path = self.directory / "users"
        self._running_path = self.directory / "running"
        self._state_path = self.directory / "state.json"
        self.was_started_here = False
        self._mine: tuple[int, Path] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # -- reading --------------------------------------------------------------------------------------------------

    def state(self) -> ServerState | None:
        """The last recorded state; None before the first start."""
        return read_state(self._state_path)

    def process(self) -> psutil.Process | None:
        """The living server process, or None."""
        state = self.state()
        return find_process(state) if state else None

    def users(self) -> list[int]:
        """The pids of the commands that use the server now."""
        return [int(path.name.split(".")[0]) for path in sorted(self._users_path.glob("*.*")) if is_locked(path)]

    @property
    def is_busy(self) -> bool:
        """Whether a command is starting or stopping the server at this moment."""
        return is_locked(self._lock_path)

    def log_tail(self, start: int = 0) -> str:
        """The last lines of the server's log, from byte `start` on."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(start, file.tell() - 16_384) if start <= file.tell() else 0)
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    # -- using ----------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Register as a user of the server, and start it if it does not run."""
        with self._locked():
            self._register()
            self._ensure_started()

    def wait_ready(self) -> int:
        """Wait until the server responds, and return its port. Starts it again if it was stopping at `join`.

        Raises:
            PermanentError: `service_died`: it ended by itself. The error contains the last lines of its log.
            TransientError: `service_died`: it was killed. `service_not_ready`: it did not respond in time.
        """
        deadline = time.monotonic() + self.program.start_timeout_s
        while True:
            process, state = self.process(), self.state()
            problem: str | None = "it ended"
            if process is not None and state is not None:
                problem = self.program.why_not_ready(process, state.port)
                if problem is None:
                    return state.port
            else:
                self._refuse_repeated_death(state)
                with self._locked():
                    self._ensure_started()
            if time.monotonic() > deadline:
                raise TransientError(
                    Reason.SERVICE_NOT_READY,
                    f"{self.program.name} does not respond after {self.program.start_timeout_s:.0f} s: {problem}. "
                    f"`nightreel down` stops it; the end of {self.log_path}:\n{self.log_tail(self._log_start)}",
                )
            time.sleep(_POLL_S)

    def leave(self) -> bool:
        """Stop using the server. Stop it if no other command uses it and `up` does not keep it.

        Returns:
            Whether it was stopped.
        """
        if self._mine is None:
            return False
        with self._locked():
            self._unregister()
            state = self.state()
            return not (self._live_users() or (state and state.kept)) and self._stop()

    def keep(self) -> None:
        """Keep the server running when its last user leaves."""
        with self._locked():
            state = self.state()
            assert state is not None, "keep() before join()"
            write_state(self._state_path, replace(state, kept=True))

    def stop(self, *, force: bool) -> bool:
        """Stop the server, even if `up` keeps it. Returns whether it ran.

        Raises like `refuse_if_used` unless `force` is set.
        """
        if not self._state_path.exists():
            return False
        with self._locked():
            if not force:
                self.refuse_if_used()
            return self._stop()

    def refuse_if_used(self) -> None:
        """Raises TransientError("service_in_use"), with their pids, if commands use the server."""
        if (users := self.users()) and self.process() is not None:
            raise TransientError(
                Reason.SERVICE_IN_USE,
                f"{self.program.name} is used by process {', '.join(map(str, users))}: "
                "wait for its end, or stop the service by force",
            )

    # -- under the lock -------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private_directory(self._users_path)
        with locked(self._lock_path, timeout_s=_LOCK_TIMEOUT_S):
            yield

    def _register(self) -> None:
        assert self._mine is None, "join() twice"
        path = self._users_path / f"{os.getpid()}.{next(_serial)}"
        self._mine = open_locked(path, timeout_s=1), path

    def _unregister(self) -> None:
        assert self._mine is not None
        (descriptor, path), self._mine = self._mine, None
        path.unlink(missing_ok=True)
        release(descriptor)

    def _live_users(self) -> list[int]:
        """Like `users`. Also removes the files that killed commands left."""
        alive = self.users()
        for path in self._users_path.glob("*.*"):
            if int(path.name.split(".")[0]) not in alive:
                path.unlink()
        return alive

    def _ensure_started(self) -> None:
        old = self.state()
        self._stop_outdated(old)
        if self.process() is not None:
            return
        running = self._wait_for_orphans()
        try:
            self.program.prepare()
            port = old.port if old and is_free(old.port) else free_port()
            launch = self.program.launch(port)
            state = ServerState(port=port, argv=launch.argv, kept=bool(old and old.kept))
            write_state(self._state_path, state)
            self._child = self._spawn(launch, running)
            write_state(self._state_path, replace(state, pid=self._child.pid))
            self.was_started_here = True
        finally:
            os.close(running)  # not released: the server has it open

    def _stop_outdated(self, state: ServerState | None) -> None:
        """Stop a server that an older version started and that this version must not use.

        Raises:
            TransientError("service_in_use"): commands of the older version use it.
        """
        if state is None or self.process() is None or not (why := self.program.why_outdated(state.argv)):
            return
        if users := [pid for pid in self.users() if pid != os.getpid()]:
            raise TransientError(
                Reason.SERVICE_IN_USE,
                f"the running {self.program.name} cannot be used: {why}. Process {', '.join(map(str, users))} uses it: "
                "wait for its end, or stop the server with `nightreel down --force`",
            )
        self._stop()

    def _wait_for_orphans(self) -> int:
        """Take the lock for the next server, once no child of a killed one can still write to its files."""
        try:
            return open_locked(self._running_path, timeout_s=_ORPHANS_TIMEOUT_S)
        except TransientError:
            pids = pids_with_open(self._running_path)
            raise TransientError(
                Reason.SERVICE_ORPHANS,
                f"{self.program.name}: process {', '.join(map(str, pids)) or 'unknown'}, left by an earlier server, "
                f"still holds {self._running_path}: wait for its end, or stop it",
            ) from None

    def _spawn(self, launch: Launch, running: int) -> subprocess.Popen[bytes]:
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with open(self.log_path, "ab", opener=private_opener) as log:
            self._log_start = log.tell()
            child = subprocess.Popen(
                launch.argv,
                cwd=launch.cwd,
                env=dict(launch.environment),
                user=launch.user,
                group=launch.group,
                extra_groups=None if launch.user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(running,),
                umask=0o077,  # the server's files are private too
                start_new_session=True,  # Ctrl-C goes to the command, which stops the server cleanly
            )
        # A thread must reap the child, or it stays a zombie while this command runs.
        threading.Thread(target=child.wait, name=f"reap-{self.program.name}", daemon=True).start()
        return child

    def _stop(self) -> bool:
        process, state = self.process(), self.state()
        if state is not None:
            write_state(self._state_path, replace(state, kept=False))
        if process is None or state is None:
            return False
        signals = (*self.program.stop_signals, (signal.SIGKILL, _KILL_TIMEOUT_S))
        try:
            self.program.settle(state.port)
        finally:  # also if Ctrl-C cuts the wait short
            self._signal(process, signals[0][0])
        for (_, grace_s), following in itertools.zip_longest(signals, signals[1:]):
            deadline = time.monotonic() + grace_s
            while time.monotonic() < deadline:
                # A process loses its command line a moment before its sockets and files.
                if self.process() is None and not is_locked(self._running_path):
                    return True
                time.sleep(_POLL_S)
            if following:
                self._signal(process, following[0])
        if self.process() is None:
            return True  # only its children are left: the next start waits for them
        raise TransientError(Reason.SERVICE_STUCK, f"{self.program.name}, pid {process.pid}, did not end after SIGKILL")

    def _signal(self, process: psutil.Process, number: signal.Signals) -> None:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            raise PermanentError(
                Reason.SERVICE_NOT_YOURS,
                f"{self.program.name}, pid {process.pid}, belongs to user {process.username()}: stop it as that user",
            ) from None

    def _refuse_repeated_death(self, state: ServerState | None) -> None:
        child, self._child = self._child, None
        if child is None:
            return  # another command's server was stopping: start a new one
        code = child.wait(timeout=_KILL_TIMEOUT_S)
        if state is None or not is_free(state.port):
            return  # another process took the port first: start on another port
        how = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        raise (TransientError if code < 0 else PermanentError)(
            Reason.SERVICE_DIED,
            f"{self.program.name} {how} before it was ready; the end of {self.log_path}:\n"
            f"{self.log_tail(self._log_start)}",
        )
