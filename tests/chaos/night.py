"""A night under random kills: the demo model, a real Postgres and a real Prefect server.

`make chaos KILLS=100 SEED=1` runs it at default settings; the suite runs ten kills. Each round starts `nightreel
analyze` or `nightreel worker`, and kills processes at random moments with SIGKILL until the round is over: a child of
the run (fork server or decoder), Postgres, the Prefect server, the run, the worker with its run. No hand helps: the
next round is the next night. At the end, runs without kills must find all work done, with the answers of an undisturbed
night, and nothing left behind.

Processes are found as descendants of what this program started, and by the state files of the embedded servers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.settings import Settings
from nightreel.stages.database import open_database

VICTIMS = ("run", "child", "postgres", "prefect", "worker")
_ANSWERS = """
SELECT split_part(uri, '/', -1), segment, prompt, state, answer, flagged
FROM reporting.answers
ORDER BY 1, 2, 3
"""
_RUN_WITHIN_S = 300.0
_FIRST_KILL_S = (2.0, 14.0)  # after the start of a round
_NEXT_KILL_S = (0.2, 4.0)
_NO_VICTIM_S = 5.0
_MOST_CHILDREN = 3  # in a round: all may be of the same video, which a run charges from the fourth one on


@dataclass
class Installation:
    """A directory with embedded services, as a user has it."""

    directory: Path
    videos: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTREEL_", "PREFECT_"))}
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "NIGHTREEL_SOURCE": str(self.videos)}
        self.environment = {**kept, "TMPDIR": str(self.directory), **own, **self.environment}

    def start(self, *command: str) -> subprocess.Popen[str]:
        with (self.directory / "log.txt").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "nightreel.cli", *command],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def call(self, *command: str, timeout_s: float = _RUN_WITHIN_S) -> int:
        process = self.start(*command)
        try:
            return process.wait(timeout_s)
        finally:
            end(process.pid)

    def servers(self) -> dict[str, int]:
        """The processes of the embedded servers that run now, by name."""
        found = {}
        for name in ("postgres", "prefect"):
            with suppress(OSError, ValueError, KeyError):
                state = json.loads((self.directory / ".nightreel" / name / "state.json").read_text())
                if state["pid"]:
                    found[name] = int(state["pid"])
        return found

    @property
    def settings(self) -> Settings:
        return Settings(work_dir=self.directory / ".nightreel", database_url=None, prefect_api_url=None)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with open_database(self.settings) as database, database.begin() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def change(self, *statements: str) -> None:
        with open_database(self.settings) as database, database.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def processes(self) -> list[psutil.Process]:
        """The processes that work in this directory, whoever their parent is now."""
        mark = f"TMPDIR={self.directory}".encode()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(
                    b"\0"
                ):
                    found.append(process)
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def end(pid: int) -> None:
    """Kill a process that this program started, with its descendants."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()


def make_videos(directory: Path, count: int) -> None:
    directory.mkdir(parents=True)
    for number in range(count):
        write_clip(directory / f"{number:03}.mp4", Clip.of((draw_scene(number + 1), 1.0)))


def victims(installation: Installation, run: subprocess.Popen[str], kind: str) -> list[int]:
    """The processes to kill together; empty if there is none of this kind now."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(run.pid).children(recursive=True)
        servers = installation.servers()
        trees = set(servers.values())
        for pid in servers.values():
            with suppress(psutil.NoSuchProcess):
                trees |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        own = [process.pid for process in below if process.pid not in trees]
        if kind == "run":
            return [run.pid]
        if kind == "worker":
            return [run.pid, *own]
        if kind == "child":
            return own
        return [servers[kind]] if kind in servers else []
    return []


def play_round(installation: Installation, chance: random.Random, kinds: list[str], wrong: list[str]) -> Counter[str]:
    """One night with the first of `kinds`, as many as it survives; removes them. Returns what was killed."""
    killed = Counter[str]()
    if kinds[0] == "worker":
        make_due(installation)
    run = installation.start("worker", "--once") if kinds[0] == "worker" else installation.start("analyze")
    began = time.monotonic()
    due_s = chance.uniform(*_FIRST_KILL_S)
    try:
        while run.poll() is None and kinds and (kinds[0] != "worker" or not killed):
            if kinds[0] == "child" and killed["child"] == _MOST_CHILDREN:
                break
            if time.monotonic() - began < due_s:
                time.sleep(0.02)
            elif found := victims(installation, run, kinds[0]):
                for pid in [chance.choice(found)] if kinds[0] == "child" else found:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                print(f"{due_s:6.1f} s  killed {kinds[0]}", flush=True)
                killed[kinds.pop(0)] += 1
                due_s = time.monotonic() - began + chance.uniform(*_NEXT_KILL_S)
            elif time.monotonic() - began > due_s + _NO_VICTIM_S:
                kinds.append(kinds.pop(0))  # there is none of this kind now
        try:
            status: Any = run.wait(_RUN_WITHIN_S)
        except subprocess.TimeoutExpired:
            status = "hung"
            wrong.append(f"a run hung after {dict(killed)} were killed")
        print(f"{time.monotonic() - began:6.1f} s  the round ended {status}", flush=True)
    finally:
        end(run.pid)
    return killed


def make_due(installation: Installation) -> None:
    """Deploy, and schedule a night for now."""
    from nightreel.orchestration.client import prefect_client
    from nightreel.services import open_services

    if installation.call("up") or installation.call("deploy"):
        raise RuntimeError(f"the installation does not deploy: {installation.directory / 'log.txt'}")
    with open_services(installation.settings, postgres=False) as endpoints:
        assert endpoints.prefect
        with prefect_client(endpoints.prefect) as client:
            night = client.read_deployment_by_name("analyze-videos/nightly")
            client.create_flow_run_from_deployment(night.id)


def play(
    directory: Path, *, kinds: list[str], seed: int, videos: int, environment: dict[str, str] | None = None
) -> list[str]:
    """Kill these kinds of processes, then check. Returns what is wrong, in sentences; empty if nothing is."""
    chance, wrong, killed = random.Random(seed), list[str](), Counter[str]()
    make_videos(directory / "videos", videos)
    night = Installation(directory / "home", directory / "videos", environment or {})
    kinds = list(kinds)
    answers = 0
    try:
        if night.call("analyze"):
            return [f"the undisturbed night failed: {night.directory / 'log.txt'}"]
        expected = night.rows(_ANSWERS)
        answers = len(expected)
        _forget_answers(night)
        while kinds:
            if not _work_is_left(night):
                _forget_answers(night)
            killed += play_round(night, chance, kinds, wrong)
        began = time.monotonic()
        while _is_unsettled(night) and time.monotonic() - began < _RUN_WITHIN_S:
            night.call("analyze")
            time.sleep(1)
        wrong += check(night, expected)
    finally:
        night.call("down", "--force", timeout_s=120)
        for process in night.processes():
            with suppress(psutil.NoSuchProcess):
                wrong.append(f"process {process.pid} is left: {' '.join(process.cmdline())[:120]}")
                process.kill()
    _print_table(killed, wrong, answers)
    return wrong


def _work_is_left(installation: Installation) -> bool:
    return bool(installation.rows("SELECT 1 FROM nightreel.analyses WHERE status <> 'done' LIMIT 1"))


def _forget_answers(installation: Installation) -> None:
    """Make all videos new work: without answers and features."""
    installation.change(
        "DELETE FROM nightreel.answers",
        "UPDATE nightreel.features SET uri = NULL",
        "UPDATE nightreel.analyses SET status = 'pending', attempts = 0",
    )
    shutil.rmtree(installation.directory / ".nightreel" / "features", ignore_errors=True)


def _is_unsettled(installation: Installation) -> bool:
    """Whether work is left, or a dead run still counts as alive, or one of its flow runs does."""
    open_runs = "SELECT 1 FROM nightreel.runs WHERE status = 'running' OR finished_at > now() - interval '65 s'"
    open_work = "SELECT 1 FROM nightreel.analyses WHERE status <> 'done'"
    return bool(installation.rows(open_work) or (installation.rows(open_runs) and _flow_runs(installation)))


def check(installation: Installation, expected: list[tuple[Any, ...]]) -> list[str]:
    """What is lost, twice, wrong or left behind."""
    wrong = []
    states = Counter(dict(installation.rows("SELECT status, count(*) FROM nightreel.analyses GROUP BY 1")))
    count = len(list(installation.videos.iterdir()))
    if states != Counter(done=count):
        wrong.append(f"of {count} videos these are not done: {dict(states)}")
    answers = installation.rows(_ANSWERS)
    if twice := [key for key, times in Counter(answer[:3] for answer in answers).items() if times > 1]:
        wrong.append(f"{len(twice)} answers are there twice, such as {twice[0]}")
    if lost := {answer[:3] for answer in expected} - {answer[:3] for answer in answers}:
        wrong.append(f"{len(lost)} answers are lost, such as {sorted(lost)[0]}")
    changed = [mine for mine in answers if mine not in expected]
    if changed:
        wrong.append(f"{len(changed)} answers differ from the undisturbed night, such as {changed[0]}")
    for what, query in {
        "runs are still running": "SELECT count(*) FROM nightreel.runs WHERE status = 'running'",
        "claims are left": "SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed' OR run_id IS NULL",
        # That of a dead run expires.
        "requests for memory are left": "SELECT count(*) FROM nightreel.memory_leases JOIN nightreel.runs "
        "ON runs.id = run_id WHERE expires_at > now() AND runs.status = 'running'",
        "videos are charged": "SELECT count(*) FROM nightreel.analyses WHERE crashes > 0 OR suspect",
    }.items():
        if number := installation.rows(query)[0][0]:
            wrong.append(f"{number} {what}")
    spool = installation.directory / ".nightreel" / "spool"
    files = [path for path in spool.rglob("*") if path.is_file() and path.name != "lock"]
    if files:
        wrong.append(f"{len(files)} files are left in the spool, such as {files[0]}")
    wrong += _flow_runs(installation)
    return wrong


def _flow_runs(installation: Installation) -> list[str]:
    """Flow runs that Prefect believes to be running."""
    found = []
    for path in (installation.directory / ".nightreel" / "prefect").rglob("prefect.db"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            query = "SELECT name FROM flow_run WHERE state_type IN ('RUNNING', 'CANCELLING')"
            found += [f"flow run {name!r} is still running in Prefect" for (name,) in connection.execute(query)]
    return found


def _print_table(killed: Counter[str], wrong: list[str], answers: int) -> None:
    print(f"\n{'killed':12}times")
    for kind in VICTIMS:
        print(f"{kind:12}{killed[kind]}")
    print(f"{'all':12}{killed.total()}\n\n{answers} answers compared with those of an undisturbed night")
    print("\n".join(wrong) or "0 lost, 0 twice, 0 wrong, no hand needed, nothing left behind", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--videos", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nightreel-chaos-", ignore_cleanup_errors=True) as directory:
        kinds = [VICTIMS[number % len(VICTIMS)] for number in range(options.kills)]
        random.Random(options.seed).shuffle(kinds)
        wrong = play(Path(directory), kinds=kinds, seed=options.seed, videos=options.videos)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
