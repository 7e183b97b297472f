"""Runs Prefect's own commands as child processes. `deploy` and `worker` use them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from nightreel.orchestration.client import request_timeout_s
from nightreel.services import PrefectApi
from nightreel.settings import Settings, child_environment

_LOOK_EVERY_S = 0.2
_RUNS_END_WITHIN_S = 60.0
_SIGNALLED = 128  # plus the signal's number, as shells report it
_PR_SET_PDEATHSIG = 1


def prefect_environment(settings: Settings, api: PrefectApi, **extra: str) -> dict[str, str]:
    """The environment of a Prefect command. It holds the server's secret: only this user can read it.

    With a configured server, this user's Prefect profile counts, which may hold a key of that server. With the embedded
    server, it must not.
    """
    home = {} if settings.prefect_api_url else {"PREFECT_HOME": str(settings.work_dir.resolve() / "prefect-client")}
    secret = {"PREFECT_API_AUTH_STRING": api.auth_string} if api.auth_string else {}
    timeout = f"{request_timeout_s(settings):g}"
    environment = child_environment(
        PREFECT_API_URL=api.url, PREFECT_API_REQUEST_TIMEOUT=timeout, DO_NOT_TRACK="1", **secret, **home, **extra
    )
    # `python3` in the command of a pool is this interpreter.
    path = (str(Path(sys.executable).parent), environment.get("PATH", ""))
    return environment | {"PATH": os.pathsep.join(filter(None, path))}


def prefect_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def run_prefect(arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    """Run a command to its end. Returns its exit status and its output."""
    done = subprocess.run(
        prefect_command(arguments),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def run_together(
    commands: Sequence[Sequence[str]],
    *,
    environment: Mapping[str, str],
    on_interrupt: Callable[[], None],
    until_all_end: bool = False,
) -> int:
    """Run several Prefect workers in the foreground as one. Returns the first exit status that is not 0.

    When one ends, the others are stopped. On an interrupt, the workers and their runs end cleanly. A second interrupt
    kills them.

    Args:
        on_interrupt: called at the first interrupt, before the runs end.
        until_all_end: a worker that ends with status 0 does not stop the others.
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        children += (_start(command, environment) for command in commands)
        while any(child.poll() is None for child in children):
            ended = [child.returncode for child in children if child.poll() is not None]
            if any(ended) or (ended and not until_all_end):
                break
            time.sleep(_LOOK_EVERY_S)
        _end(children)
    except KeyboardInterrupt:
        try:
            on_interrupt()
            _end(children)
        except KeyboardInterrupt:
            _kill(children)
    codes = [child.wait() for child in children]
    return next((code if code > 0 else _SIGNALLED - code for code in codes if code), 0)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        prefect_command(command),
        env=environment,
        stdin=subprocess.DEVNULL,
        process_group=0,  # a worker that gets Ctrl-C too is interrupted twice: it dies and leaves its runs behind
        preexec_fn=_listen_for_the_end,
    )


def _listen_for_the_end() -> None:
    """In the child: end when the parent is killed, and react to SIGINT, which background jobs ignore by default.

    Prefect's worker sends itself SIGINT when it is asked to end.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the workers' runs, then the workers: a worker would kill its runs, which then could not report their end."""
    told: set[int] = set()
    give_up_at = time.monotonic() + _RUNS_END_WITHIN_S
    while (runs := [run for child in children for run in _runs(child)]) and time.monotonic() < give_up_at:
        for run in runs:
            if run.pid not in told:
                told.add(run.pid)
                with suppress(psutil.NoSuchProcess):
                    run.terminate()
        time.sleep(_LOOK_EVERY_S)
    for child in children:
        child.terminate()
    for child in children:
        child.wait()


def _runs(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The live runs of a worker: its direct child processes."""
    try:
        started = psutil.Process(child.pid).children()
        return [process for process in started if process.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        with suppress(psutil.NoSuchProcess):
            worker = psutil.Process(child.pid)
            for process in (worker, *worker.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
