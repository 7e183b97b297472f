"""vLLM as a process: started, watched, started again when it dies, stopped with the run.

`model` owns one. `warden` is the program in between: however this process ends, vLLM ends with it. This module knows
neither models nor requests.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.models.engine.launch import Launch
from nightreel.models.engine.warden import STARTED
from nightreel.private import private_directory
from nightreel.reasons import Reason
from nightreel.units import human_seconds

logger = logging.getLogger(__name__)

_WARDEN = Path(__file__).with_name("warden.py")
_LOG_LIMIT_BYTES = 8 * 2**20
_LOGS_KEPT = 5
_LOG_TAIL_LINES = 15
_ERROR = re.compile(r"^(?!.* WARNING ).*\b\w+Error: .")
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.2
_ENDS_WITHIN_S = 10.0  # vLLM ends after its first process has died
_MOST_RESTARTS = 3  # within the time below: a question that kills vLLM each time must not do so for ever
_RESTARTS_COUNT_S = 3600.0


class EngineProcess:
    """One vLLM, from `start` to `stop`.

    Args:
        launch: makes the command line for the path of a socket.
        log_directory: of its logs, one for each process that starts vLLM.
        start_timeout_s: longest wait until it is ready.
    """

    def __init__(self, launch: Callable[[Path], Launch], *, log_directory: Path, start_timeout_s: float) -> None:
        self._launch = launch
        self._log_directory, self._start_timeout_s = log_directory, start_timeout_s
        self.log_path = log_directory / f"vllm-{os.getpid()}.log"
        # A socket's path has at most 107 bytes, and the work directory may be anywhere.
        self.socket_path = Path(tempfile.gettempdir()) / f"nightreel-{os.urandom(8).hex()}" / "socket"
        self.is_over = threading.Event()  # it failed or was stopped: no request is sent again
        self.failure: NightreelError | None = None
        self._stopping = threading.Event()
        self._was_ready = False
        self._started_at = 0.0
        self.deaths = 0
        self._recent_deaths: deque[float] = deque()
        self._warden: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="vllm", daemon=True)

    def start(self) -> None:
        """Start vLLM, and watch it. It needs minutes until it is ready."""
        self._started_at = time.monotonic()
        logger.info("vLLM starts, which takes minutes; its log: %s", self.log_path)
        private_directory(self._log_directory)
        self.socket_path.parent.mkdir(mode=0o700)
        self._delete_old_logs()
        self._spawn()
        self._watcher.start()

    def wait_until_ready(self) -> None:
        """Wait until vLLM takes requests for the first time. If it dies from then on, it is started again.

        Raises:
            NightreelError: `engine_died`: it ended, or was not ready in time; the message has the end of its log.
        """
        while not self._was_ready:
            if self.failure:
                raise self.failure
            if self._stopping.is_set():
                raise TransientError(Reason.ENGINE_DIED, "vLLM was stopped before it was ready")
            if listens(self.socket_path):
                self._was_ready = True
                logger.info("vLLM is ready after %s", human_seconds(time.monotonic() - self._started_at))
            elif time.monotonic() > self._started_at + self._start_timeout_s:
                raise TransientError(
                    Reason.ENGINE_DIED,
                    f"vLLM is not ready after NIGHTREEL_ENGINE_START_S={self._start_timeout_s:g} s; the end of "
                    f"{self.log_path}:\n{self.log_tail()}",
                )
            else:
                self.is_over.wait(_POLL_S)

    def died_since(self, deaths: int) -> bool:
        """Whether vLLM ended since `deaths` was read. Waits some seconds for it: a request may fail before it ends."""
        give_up_at = time.monotonic() + _ENDS_WITHIN_S
        while self.deaths == deaths and time.monotonic() < give_up_at and not self._stopping.wait(_POLL_S):
            pass
        return self.deaths > deaths

    def stop(self) -> None:
        """End vLLM. Returns when none of its processes is left."""
        with self._lock:
            self._stopping.set()
            self.is_over.set()
            warden = self._warden
        if warden is not None:
            assert warden.stdin
            warden.stdin.close()
            try:
                warden.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _kill_group(warden)
        if self._watcher.is_alive():
            self._watcher.join(_STOP_TIMEOUT_S)
        shutil.rmtree(self.socket_path.parent, ignore_errors=True)  # a killed warden leaves it

    def log_tail(self) -> str:
        return end_of_log(self.log_path)

    def _spawn(self) -> None:
        for left in self.socket_path.parent.iterdir():  # by the last vLLM, which cannot listen on an old socket
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        launch = self._launch(self.socket_path)
        self._warden = subprocess.Popen(
            [
                sys.executable,
                "-I",
                str(_WARDEN),
                str(self.socket_path.parent),
                str(self.log_path),
                str(_LOG_LIMIT_BYTES),
                *launch.argv,
            ],
            env=dict(launch.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to the run, which stops vLLM cleanly
        )

    def _watch(self) -> None:
        while True:
            warden = self._warden
            assert warden
            assert warden.stdin
            assert warden.stdout
            status = warden.stdout.read().decode().strip()  # until the warden ends
            warden.wait()
            warden.stdout.close()
            with suppress(BrokenPipeError):
                warden.stdin.close()
            _kill_group(warden)  # if the warden was killed, the others are left
            with self._lock:
                if self._stopping.is_set():
                    return
                self._recent_deaths.append(time.monotonic())
                may_restart = self._may_restart(status)
                if may_restart:
                    logger.warning("vLLM %s; it starts again. The end of its log:\n%s", _how(status), self.log_tail())
                    self._spawn()
                else:
                    self._fail(status)
                self.deaths += 1
                if not may_restart:
                    return

    def _may_restart(self, status: str) -> bool:
        while self._recent_deaths[0] < time.monotonic() - _RESTARTS_COUNT_S:
            self._recent_deaths.popleft()
        was_killed = not status or status.startswith("-")
        return (self._was_ready or was_killed) and len(self._recent_deaths) <= _MOST_RESTARTS

    def _fail(self, status: str) -> None:
        deaths = len(self._recent_deaths)
        often = f", the last of {deaths} ends within an hour" if deaths > 1 else ""
        kind = TransientError if self._was_ready else PermanentError
        self.failure = kind(
            Reason.ENGINE_DIED, f"vLLM {_how(status)}{often}; the end of {self.log_path}:\n{self.log_tail()}"
        )
        self.is_over.set()

    def _delete_old_logs(self) -> None:
        logs = sorted(self._log_directory.glob("vllm-*.log*"), key=lambda path: path.stat().st_mtime)
        for path in logs[: -2 * _LOGS_KEPT]:
            path.unlink(missing_ok=True)


def listens(socket_path: Path) -> bool:
    """Whether a process takes connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(socket_path))
        except OSError:
            return False
        return True


def end_of_log(path: Path) -> str:
    """The last lines of vLLM's log, after the first error since it was started: what follows is often a result."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    tail = lines[-_LOG_TAIL_LINES:]
    start = max((place for place, line in enumerate(lines) if line == STARTED), default=0)
    error = next((line for line in lines[start:] if _ERROR.search(line)), None)
    return "\n".join(tail if error is None or error in tail else [error, "...", *tail])


def _how(status: str) -> str:
    if not status:
        return "was killed together with its warden"
    return f"was ended by signal {status[1:]}" if status.startswith("-") else f"ended with status {status}"


def _kill_group(warden: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(warden.pid, signal.SIGKILL)
