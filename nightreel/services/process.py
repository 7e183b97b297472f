"""A server in the background that several commands share: the first to come starts it, the last to leave stops it.

Used by `endpoints`; `postgres` and `prefect_server` say what is particular to one (`Program`). The files of a server:

    lock          held while something is decided: start, join, leave, stop; never while waiting for readiness
    users/PID.N   one for each command that uses the server, locked by it for as long as it does
    running       locked by the server itself, which inherits the open file: free once it and its children are gone
    state.json    port, pid and command line of the server, and whether `up` wants it kept
    server.log    what it prints

Locks end with their process, so a command or a server killed with -9 leaves nothing to clean up. Whether the recorded
pid is still the server is decided by its command line, which names port and directory: a recycled pid does not have it,
and unlike a creation time it does not move when the clock is set.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import psutil

from nightreel.errors import PermanentError, TransientError
from nightreel.services.locking import is_locked, locked, open_locked, release, write_private

_LOCK_TIMEOUT_S = 120.0  # longest thing done under the lock: initdb on a slow disk, or a fast shutdown
_ORPHANS_TIMEOUT_S = 30.0
_POLL_S = 0.05
_LOG_LIMIT_BYTES = 16 * 2**20
_LOG_TAIL_LINES = 15
_serial = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to run a server: what `subprocess.Popen` takes. `user` None: as the one who asks."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    user: int | None = None
    group: int | None = None


class Program(Protocol):
    """What is particular to one server."""

    name: str
    directory: Path
    start_timeout_s: float
    stop_signals: tuple[tuple[signal.Signals, float], ...]  # each with the seconds it may take; SIGKILL follows

    def prepare(self) -> None:
        """What must be there before a start. Called under the lock, with no server running."""

    def launch(self, port: int) -> Launch:
        """The command line of a server on 127.0.0.1:port. It must differ from that of any other server."""

    def why_not_ready(self, process: psutil.Process, port: int) -> str | None:
        """None when this process answers on this port, else the reason in words."""


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What is known of a server. `pid` None with an `argv`: its launcher was killed before it could write the pid."""

    port: int
    argv: tuple[str, ...] = ()
    pid: int | None = None
    started_at: float = 0.0  # seconds since the epoch
    kept: bool = False


class SharedServer:
    """One server of one work directory, as one command sees it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.directory = program.directory
        self.log_path = self.directory / "server.log"
        self._lock_path = self.directory / "lock"
        self._users_path = self.directory / "users"
        self._running_path = self.directory / "running"
        self._state_path = self.directory / "state.json"
        self._mine: tuple[int, Path] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # -- asking ---------------------------------------------------------------------------------------------------

    def state(self) -> ServerState | None:
        """What was last recorded; None before the first start."""
        try:
            values = json.loads(self._state_path.read_text(encoding="utf-8"))
            return ServerState(**{**values, "argv": tuple(values["argv"])})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            # Not one of ours: a full disk or an editor. Nothing in it is needed to find out what runs.
            return None

    def process(self) -> psutil.Process | None:
        """The living server process, or None."""
        state = self.state()
        if state is None or not state.argv:
            return None
        candidates = psutil.process_iter() if state.pid is None else _process_with(state.pid)
        return next((process for process in candidates if _runs(process, state.argv)), None)

    def users(self) -> list[int]:
        """The pids of the commands that use the server now."""
        return [int(path.name.split(".")[0]) for path in sorted(self._users_path.glob("*.*")) if is_locked(path)]

    @property
    def is_busy(self) -> bool:
        """Whether a command is starting or stopping the server at this moment."""
        return is_locked(self._lock_path)

    def log_tail(self, start: int = 0) -> str:
        """The last lines that the server printed, from byte `start` on."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(start, file.tell() - 16_384) if start <= file.tell() else 0)
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    # -- using ----------------------------------------------------------------------------------------------------

    def join(self) -> bool:
        """Use the server from now on, and start it if it does not run. Returns whether this call started it."""
        with self._locked():
            self._register()
            return self._ensure_started()

    def wait_ready(self) -> int:
        """Wait until the server answers: its port. Starts it again where it was on its way down when we joined.

        Raises:
            PermanentError("..._died"): it ended by itself; with the last lines of its log.
            TransientError("..._died"): it was killed. TransientError("..._not_ready"): it did not answer in time.
        """
        deadline = time.monotonic() + self.program.start_timeout_s
        while True:
            process, state = self.process(), self.state()
            if process is None or state is None:
                self._refuse_repeated_death(state)
                with self._locked():
                    self._ensure_started()
                continue
            problem = self.program.why_not_ready(process, state.port)
            if problem is None:
                return state.port
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{self.program.name}_not_ready",
                    f"pid {process.pid} on 127.0.0.1:{state.port} does not answer after "
                    f"{self.program.start_timeout_s:.0f} s ({problem}). `nightreel down` ends it; "
                    f"its log is {self.log_path}:\n{self.log_tail(self._log_start)}",
                )
            time.sleep(_POLL_S)

    def leave(self) -> bool:
        """Use it no more, and stop it if nobody else does and `up` does not keep it. Returns whether it was stopped."""
        if self._mine is None:
            return False
        with self._locked():
            self._unregister()
            state = self.state()
            return not (self._live_users() or (state and state.kept)) and self._stop()

    def keep(self) -> None:
        """Let it run on when its last user leaves."""
        with self._locked():
            state = self.state()
            assert state is not None, "keep() before join()"
            self._write(replace(state, kept=True))

    def stop(self, *, force: bool) -> bool:
        """Stop it, kept or not. Returns whether it ran.

        Raises:
            TransientError("service_in_use"): other commands use it and `force` is not set; their pids are named.
        """
        if not self._state_path.exists():
            return False
        with self._locked():
            users = self._live_users()
            if users and not force and self.process() is not None:
                raise TransientError(
                    "service_in_use",
                    f"{self.program.name} is used by process {', '.join(map(str, users))}: "
                    "wait for the end of it, or stop the service even so by force",
                )
            return self._stop()

    # -- under the lock -------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._users_path.mkdir(parents=True, exist_ok=True)
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
        """Like `users`, and removes the files that killed commands left."""
        alive = self.users()
        for path in self._users_path.glob("*.*"):
            if int(path.name.split(".")[0]) not in alive:
                path.unlink()
        return alive

    def _ensure_started(self) -> bool:
        if self.process() is not None:
            return False
        # Children of a killed server may still write to its files: wait until the last of them has gone.
        running = open_locked(self._running_path, timeout_s=_ORPHANS_TIMEOUT_S)
        try:
            self.program.prepare()
            old = self.state()
            port = old.port if old and _is_free(old.port) else _free_port()
            launch = self.program.launch(port)
            state = ServerState(port=port, argv=launch.argv, started_at=time.time())
            self._write(state)
            self._child = self._spawn(launch, running)
            self._write(replace(state, pid=self._child.pid))
        finally:
            os.close(running)  # not released: the server has it open
        return True

    def _spawn(self, launch: Launch, running: int) -> subprocess.Popen[bytes]:
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
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
                start_new_session=True,  # Ctrl-C is for the command; it stops the server in good order
            )
        # Somebody has to take note of its death, or it stays a zombie for as long as this command runs.
        threading.Thread(target=child.wait, name=f"reap-{self.program.name}", daemon=True).start()
        return child

    def _stop(self) -> bool:
        process, state = self.process(), self.state()
        if state is not None:
            self._write(replace(state, kept=False))
        if process is None:
            return False
        for signal_, grace_s in (*self.program.stop_signals, (signal.SIGKILL, 10.0)):
            try:
                process.send_signal(signal_)
            except psutil.NoSuchProcess:
                return True
            except psutil.AccessDenied:
                raise PermanentError(
                    "service_not_yours",
                    f"{self.program.name}, pid {process.pid}, is of user {process.username()}: stop it as that user",
                ) from None
            deadline = time.monotonic() + grace_s
            while time.monotonic() < deadline:
                if self.process() is None:
                    return True
                time.sleep(_POLL_S)
        raise TransientError("service_stuck", f"{self.program.name}, pid {process.pid}, did not end by SIGKILL either")

    def _refuse_repeated_death(self, state: ServerState | None) -> None:
        child, self._child = self._child, None
        if child is None or state is None or not _is_free(state.port):
            return  # another's server was on its way down, or a stranger was faster to take the port: start again
        code = child.wait(timeout=10)
        how = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        raise (TransientError if code < 0 else PermanentError)(
            f"{self.program.name}_died",
            f"{self.program.name} {how} before it was ready; the end of {self.log_path}:\n"
            f"{self.log_tail(self._log_start)}",
        )

    def _write(self, state: ServerState) -> None:
        write_private(self._state_path, json.dumps(asdict(state), indent=1) + "\n")


def _process_with(pid: int) -> Iterator[psutil.Process]:
    try:
        yield psutil.Process(pid)
    except psutil.NoSuchProcess:
        return


def _runs(process: psutil.Process, argv: tuple[str, ...]) -> bool:
    try:
        return process.cmdline() == list(argv) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
