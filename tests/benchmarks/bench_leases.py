"""Sixty runs that want memory of one device at once. `make bench-leases`, some fifteen minutes.

Six processes, requests of 1/16 to 9/10 of the device held for 2 to 20 seconds, all asked for within three seconds. With
our line two processes are killed while they hold memory, and the Prefect server is stopped and started once in good
order and once by kill -9; with Prefect's limits alone nothing happens to anybody.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Report, Row
from benchmarks.lease_log import Verdict, judge
from benchmarks.lease_sides import DEVICE_MIB, LEASE_S, Simulation, draw_requests, read_log

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.services import open_services
from nightreel.settings import load_settings

_REQUESTS = 60
_HOLD_S = (2.0, 20.0)
_WITHIN_S = 3.0
_TIMEOUT_S = 1800.0


def main(seed: int = 1, scale: float = 1.0) -> None:
    """Args: scale: of the times that memory is held."""
    hold_s = (_HOLD_S[0] * scale, _HOLD_S[1] * scale)
    requests = draw_requests(_REQUESTS, hold_s=hold_s, within_s=_WITHIN_S, seed=seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with open_services(load_settings(work_dir=root / "work", database_url=None), prefect=False) as services:
            database = Database(services.database_url)
            upgrade(database.engine)
            database.close()
            verdicts = {}
            for side in ("alone", "undisturbed", "disturbed"):
                directory = root / side
                directory.mkdir()
                with Simulation(directory, services.database_url, alone=side == "alone") as simulation:
                    simulation.start(requests)
                    if side == "disturbed":
                        _disturb(simulation)
                    simulation.wait(_TIMEOUT_S)
                    verdicts[side] = judge(read_log(simulation.log_path), device_mib=DEVICE_MIB, lease_s=LEASE_S)
                print(side, asdict(verdicts[side]), flush=True)
    report = Report("leases", versions=("prefect", "psycopg"))
    for side in ("undisturbed", "disturbed"):
        for row in _rows(side, verdicts[side], verdicts["alone"]):
            report.add(row)
    report.finish()


def _disturb(simulation: Simulation) -> None:
    import time

    time.sleep(20)
    simulation.kill_a_holder()
    time.sleep(20)
    simulation.restart_server()
    time.sleep(30)
    simulation.kill_a_holder()
    time.sleep(20)
    simulation.restart_server(with_kill=True)


def _rows(side: str, ours: Verdict, alone: Verdict) -> list[Row]:
    def row(name: str, value: float, other: float, unit: str, goal: str, met: bool, note: str = "") -> Row:
        ratio = value / other if other else 0.0
        return Row(f"{name}, {side}", value, other, "Prefect alone", unit, ratio, goal, met, note)

    return [
        row("most held at once", ours.most_mib, alone.most_mib, "mib", f"<= {DEVICE_MIB}", ours.most_mib <= DEVICE_MIB),
        row("served", ours.served, alone.served, "requests", f"{ours.asked}", ours.served == ours.asked),
        row("median wait", ours.median_wait_s, alone.median_wait_s, "s", "none", True),
        row("longest wait", ours.longest_wait_s, alone.longest_wait_s, "s", "none", True),
        row("longest wait of the largest / median", ours.patience, alone.patience, "x", "<= 3", ours.patience <= 3),
        row("idle though it would fit", ours.idle, alone.idle, "share", "<= 0.15", ours.idle <= 0.15),
        row("used", ours.used, alone.used, "share", "none", True),
        row("all", ours.took_s, alone.took_s, "s", "none", True),
    ]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *map(float, sys.argv[2:3]))
