"""Sixty requests for memory of one device. `make bench-leases`, some seventeen minutes, mostly waiting.

Six processes submit requests for 1/16 to 9/10 of the device and hold them for 2 to 20 seconds. "together": all requests
come within three seconds. "in turn": each process submits its next request after it gave back the last one. Our memory
queue runs beside Prefect's `concurrency()` alone, at the same time, each on its own server. In "together", two of our
processes are killed while they hold memory, and our Prefect server restarts twice: after a clean stop, and after
kill -9. The other side is not disturbed. At the end, our side alone serves as many requests on devices of unequal
memory, disturbed in the same way. `bench_leases.py SEED unequal` does only that.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Report, Row
from benchmarks.lease_log import Verdict, judge, most_held, unserved
from benchmarks.lease_sides import (
    DEVICE_MIB,
    LEASE_S,
    UNEQUAL_DEVICES,
    Simulation,
    draw_requests,
    draw_unequal_requests,
    read_log,
)

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.services import open_services
from nightreel.services.prefect_server import PrefectServer
from nightreel.settings import load_settings

_REQUESTS = 60
_HOLD_S = (2.0, 20.0)
_WITHIN_S = 3.0
_TIMEOUT_S = 1800.0
_MOST_PATIENCE, _MOST_IDLE = 3.0, 0.15


def main(seed: str = "1", part: str = "all") -> None:
    report = Report("leases", versions=("prefect", "psycopg"))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with open_services(load_settings(work_dir=root / "work"), prefect=False) as services:
            database = Database(services.owner_url)  # the worker cannot make tables
            upgrade(database.engine)
            database.close()
            for how in ("together", "in turn") if part == "all" else ():
                ours, alone = _both(root / how, services.database_url, how=how, seed=int(seed))
                print(how, asdict(ours), asdict(alone), sep="\n", flush=True)
                for row in _rows(how, ours, alone):
                    report.add(row)
            for row in _unequal(root / "unequal", services.database_url, seed=int(seed)):
                report.add(row)
    report.finish()


def _both(directory: Path, database_url: str, *, how: str, seed: int) -> list[Verdict]:
    requests = draw_requests(_REQUESTS, hold_s=_HOLD_S, within_s=_WITHIN_S, seed=seed)
    with ExitStack() as stack:
        simulations = []
        for alone in (False, True):
            place = directory / ("alone" if alone else "ours")
            place.mkdir(parents=True)
            program = PrefectServer(place / "prefect")
            simulation = Simulation(place, database_url, program, alone=alone, in_turn=how == "in turn")
            simulations.append(stack.enter_context(simulation))
        for simulation in simulations:
            simulation.start(requests)
        if how == "together":
            _disturb(simulations[0])
        for simulation in simulations:
            simulation.wait(_TIMEOUT_S)
        return [judge(read_log(item.log_path), device_mib=DEVICE_MIB, lease_s=LEASE_S) for item in simulations]


def _unequal(directory: Path, database_url: str, *, seed: int) -> list[Row]:
    """Requests for any of several devices, for one of them, or for all. The log says what was held at each moment."""
    directory.mkdir(parents=True)
    requests = draw_unequal_requests(_REQUESTS, hold_s=_HOLD_S, within_s=_WITHIN_S, seed=seed)
    program = PrefectServer(directory / "prefect")
    with Simulation(directory, database_url, program, devices=UNEQUAL_DEVICES) as simulation:
        simulation.start(requests)
        _disturb(simulation)
        simulation.wait(_TIMEOUT_S)
        log = read_log(simulation.log_path)
    most, left = most_held(log), len(unserved(log))
    rows = [
        Row(
            f"unequal devices: largest total held of {capacity} MiB",
            float(most.get(limit, 0)),
            float(capacity),
            "the limit",
            "mib",
            most.get(limit, 0) / capacity,
            f"<= {capacity}",
            most.get(limit, 0) <= capacity,
            "",
        )
        for limit, capacity in UNEQUAL_DEVICES.items()
    ]
    grants, took_s = sum(event["event"] == "granted" for event in log), log[-1]["at"] - log[0]["at"]
    note = f"{grants} grants in {took_s:.0f} s, two holders killed"
    return [*rows, Row("unequal devices: requests not served", float(left), 0.0, "", "", 0.0, "0", not left, note)]


def _disturb(simulation: Simulation) -> None:
    time.sleep(20)
    simulation.kill_a_holder()
    time.sleep(20)
    simulation.restart_server()
    time.sleep(30)
    simulation.kill_a_holder()
    time.sleep(20)
    simulation.restart_server(with_kill=True)


def _rows(how: str, ours: Verdict, alone: Verdict) -> list[Row]:
    def row(name: str, unit: str, figure: str, goal: str = "none", *, met: bool = True, note: str = "") -> Row:
        mine, other = float(getattr(ours, figure)), float(getattr(alone, figure))
        ratio = mine / other if other else 0.0
        return Row(f"{how}: {name}", mine, other, "Prefect alone", unit, ratio, goal, met, note)

    patient, idle = ours.patience <= _MOST_PATIENCE, ours.idle <= _MOST_IDLE
    served = f"all {ours.asked}"
    return [
        row("largest total held", "mib", "most_mib", f"<= {DEVICE_MIB}", met=ours.most_mib <= DEVICE_MIB),
        row("requests served", "", "served", served, met=ours.served == ours.asked),
        row("median wait", "s", "median_wait_s"),
        row("longest wait", "s", "longest_wait_s"),
        row("longest wait of the largest, in median waits", "x", "patience", f"<= {_MOST_PATIENCE:g}", met=patient),
        row("idle memory that fits a request", "", "idle", f"<= {_MOST_IDLE:g}", met=idle, note="while one waits"),
        row("memory used", "", "used"),
        row("total time", "s", "took_s"),
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
