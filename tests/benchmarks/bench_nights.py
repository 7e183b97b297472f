"""A night on one, two and four hosts: one Prefect server, one Postgres. `make bench-nights`, 20 minutes.

With the argument 16, a night of sixteen runs too, four on each of four hosts, which then have four devices each, and
with Prefect on a Postgres of Debian, as in production, where there is one. With the argument only-16, nothing else.

The model is a server that sleeps for each segment and takes one segment of a host at a time. So this measures all the
rest: how soon helpers start, and whether claims, database and Prefect let four hosts do four times the work. A host is
killed in one night, and the night's own run in another. The costs of a video are known, as after any night before.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, Row
from benchmarks.prefect_on_postgres import debian_postgres
from benchmarks.worker_sides import CHUNK, Outcome, repeated_questions, site, throughput, value, wait, write_video
from fixtures.chat_server import ChatServer
from fixtures.hosts import Hosts
from prefect.client.orchestration import get_client

from nightreel.database.connection import Database

VIDEOS, SLEEP_S = 400, 1.0
MANY_HOSTS, MANY_DEVICES, MANY_VIDEOS, MANY_SLEEP_S, MANY_CHUNK = 4, 4, 600, 4.0, 2
"""40 minutes of sleep, for 16 runs. A chunk sleeps for as long as those of the other nights."""
_READY_S = 40.0  # a host, because all start on one machine's cores
_FEW = 8  # videos of the night before, which measures the costs of one
_NIGHT = "SELECT status <> 'running' FROM nightreel.runs WHERE night_id IS NULL ORDER BY id DESC LIMIT 1"


@dataclass(frozen=True, kw_only=True)
class Night(Outcome):
    """A finished night. Its seconds count from the start of its flow function.

    Args:
        started_s: from there to the start of the last helper.
        claims: chunks that were claimed. tasks: task runs that the Prefect server has of the night.
    """

    hosts: int
    started_s: float
    claims: int
    tasks: int


def main(*, with_few: bool, with_many: bool) -> None:
    report = Report("nights", versions=("prefect", "psycopg", "sqlalchemy"))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if with_few:
            for row in _rows(dict(_few(directory))):
                report.add(row)
        if with_many:
            many = _play(
                directory / "many",
                hosts=MANY_HOSTS,
                devices=MANY_DEVICES,
                videos=MANY_VIDEOS,
                sleep_s=MANY_SLEEP_S,
                chunk=MANY_CHUNK,
                prefect_has_postgres=debian_postgres() is not None,
            )
            print(many, flush=True)
            for row in _rows_of_many(many):
                report.add(row)
    report.finish()


def _few(directory: Path) -> Iterator[tuple[str, Night]]:
    """Nights on one to four hosts, by what they are."""
    nights = (
        ("1 host", 1, _nothing),
        ("2 hosts", 2, _nothing),
        ("4 hosts", 4, _nothing),
        ("4 hosts, one killed", 4, _kill_helper),
        ("4 hosts, the night's own run killed", 4, _kill_night),
    )
    for number, (how, hosts, disturb) in enumerate(nights):
        night = _play(directory / str(number), hosts=hosts, disturb=disturb)
        print(how, night, flush=True)
        yield how, night


def _rows(found: dict[str, Night]) -> Iterator[Row]:
    for how, goal in (("2 hosts", 1.85), ("4 hosts", 3.6)):
        note = f"{VIDEOS} videos, {SLEEP_S:g} s of the model each; last helper after {found[how].started_s:.0f} s"
        yield throughput(f"a night on {how}", found[how], found["1 host"], one_is="1 host", goal=goal, note=note)
    for how, night in found.items():
        yield repeated_questions(f"a night on {how}", night, with_kill="killed" in how, note=f"; {night.seconds:.0f} s")


def _rows_of_many(many: Night) -> Iterator[Row]:
    runs = MANY_HOSTS * MANY_DEVICES
    ideal = MANY_VIDEOS * MANY_SLEEP_S / runs
    yield Row(
        f"a night of {runs} runs: time",
        many.seconds,
        ideal,
        "its sleep, shared by all runs",
        "s",
        ideal / many.seconds,
        ">= 0.9",
        ideal / many.seconds >= 0.9,
        f"{many.hosts} hosts on this machine's cores, Prefect on {'Postgres' if debian_postgres() else 'SQLite'}, runs "
        f"{many.runs}; {many.claims / many.seconds:.1f} claims/s, {many.tasks / many.seconds:.1f} task runs/s accepted",
    )
    yield Row(
        f"a night of {runs} runs: until its last helper started",
        many.started_s,
        many.seconds,
        "the night",
        "s",
        many.started_s / many.seconds,
        "none",
        True,
        "its worker polls, its process imports this program",
    )


def _nothing(_: Hosts, __: Database) -> None:
    pass


def _kill_helper(hosts: Hosts, database: Database) -> None:
    _kill(hosts, database, "SELECT flow_run_id FROM nightreel.runs WHERE night_id IS NOT NULL ORDER BY id LIMIT 1")


def _kill_night(hosts: Hosts, database: Database) -> None:
    _kill(hosts, database, "SELECT flow_run_id FROM nightreel.runs WHERE night_id IS NULL ORDER BY id DESC LIMIT 1")


def _kill(hosts: Hosts, database: Database, flow_run: str) -> None:
    """Kill the host of this flow run in the middle of the night."""
    wait(database, f"SELECT count(*) >= {VIDEOS // 4} FROM nightreel.analyses WHERE status = 'done'")
    flow_run_id = value(database, flow_run)
    hosts.kill(next(name for name in hosts.names if flow_run_id in hosts.log(name)))


def _play(
    directory: Path,
    *,
    hosts: int,
    devices: int = 1,
    disturb: Callable[[Hosts, Database], None] = _nothing,
    videos: int = VIDEOS,
    sleep_s: float = SLEEP_S,
    chunk: int = CHUNK,
    prefect_has_postgres: bool = False,
) -> Night:
    with ExitStack() as stack:
        server = ChatServer()
        stack.callback(server.close)
        environment, database = stack.enter_context(site(directory, server, prefect_has_postgres=prefect_has_postgres))
        source = directory / "videos"
        helpers = hosts * devices - 1  # the hosts share a machine
        environment |= {"NIGHTREEL_SOURCE": str(source), "NIGHTREEL_HELPERS": str(helpers)}
        environment["NIGHTREEL_CHUNK_SEGMENTS"] = str(chunk)
        group = stack.enter_context(Hosts(directory, environment))
        client = stack.enter_context(get_client(sync_client=True))
        group.deploy()
        nightly = client.read_deployment_by_name("analyze-videos/nightly").id
        names = [f"host-{number}" for number in range(hosts)]
        for name in names:
            group.start(name, "--limit", str(devices))
        group.wait_ready(*names, timeout_s=_READY_S * hosts)
        server.delay_s = sleep_s
        for seed in range(_FEW):
            write_video(source / f"{seed:04}.mp4", seed)
        client.create_flow_run_from_deployment(nightly)
        wait(database, _NIGHT)
        for seed in range(_FEW, _FEW + videos):
            write_video(source / f"{seed:04}.mp4", seed)
        asked = server.questions_asked
        before = value(database, "SELECT max(id) FROM nightreel.runs")
        client.create_flow_run_from_deployment(nightly)
        wait(database, f"SELECT count(*) > 0 FROM nightreel.runs WHERE id > {before}")
        disturb(group, database)
        wait(database, f"SELECT count(*) = {_FEW + videos} FROM nightreel.analyses WHERE status = 'done'")
        wait(database, "SELECT count(*) = 0 FROM nightreel.runs WHERE status = 'running' AND alive_until > now()")
        of_night = f"FROM nightreel.runs WHERE id > {before}"
        began = f"(SELECT min(started_at) {of_night})"

        def seconds(until: str) -> float:
            return float(value(database, f"SELECT extract(epoch FROM ({until}) - {began})"))

        return Night(
            hosts=hosts,
            seconds=seconds("SELECT max(updated_at) FROM nightreel.analyses"),
            started_s=seconds(f"SELECT max(started_at) {of_night}"),
            videos=videos,
            done=value(database, "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'") - _FEW,
            answers=value(database, "SELECT count(*) FROM nightreel.answers") - _FEW,
            asked=server.questions_asked - asked,
            runs=value(
                database,
                "SELECT jsonb_object_agg(status, found) FROM"
                f" (SELECT status, count(*) AS found {of_night} GROUP BY status) AS run",
            ),
            **_task_runs(client, database, of_night),
        )


def _task_runs(client: Any, database: Database, of_night: str) -> dict[str, int]:
    """The claims of a night, and all its task runs, as Prefect has them."""
    ids = value(database, f"SELECT array_agg(flow_run_id) {of_night}")

    def count(**more: Any) -> int:
        flow_runs = {"id": {"any_": ids}}
        body = {"flow_runs": flow_runs, **({"task_runs": more} if more else {})}
        return int(client.request("POST", "/task_runs/count", json=body).json())

    return {"tasks": count(), "claims": count(name={"like_": "claim"})}


if __name__ == "__main__":
    main(with_few="only-16" not in sys.argv, with_many=bool({"16", "only-16"}.intersection(sys.argv)))
