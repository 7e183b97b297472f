"""Many requests for memory of devices: processes lease it and are killed, and their Prefect server restarts.

`bench_leases` runs the full length, tests/e2e a short form. The verdict comes from a log that the holders write
themselves, not from Prefect's counters or the rows of the memory queue.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from nightreel.services import PrefectApi
from nightreel.services.prefect_server import PrefectServer
from nightreel.services.process import SharedServer
from nightreel.settings import child_environment

_ROOT = Path(__file__).parents[2]
DEVICE_MIB = 80_000
LEASE_S = 60.0  # the shortest that Prefect accepts
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 9 / 10)
_HOST, _LIMIT = "simulated", "gpu-mem-simulated-GPU-0"
ONE_DEVICE = {_LIMIT: DEVICE_MIB}
UNEQUAL_DEVICES = {f"gpu-mem-simulated-GPU-{mib}": mib for mib in (80_000, 24_000, 10_000)}


@dataclass(frozen=True, kw_only=True)
class Request:
    """Submitted `after_s` after the start, held for `hold_s`.

    Args:
        limits: of any of them, or if `spread`, of all.
    """

    number: int
    mib: int
    hold_s: float
    after_s: float
    limits: tuple[str, ...] = (_LIMIT,)
    spread: bool = False


def draw_requests(count: int, *, hold_s: tuple[float, float], within_s: float, seed: int) -> list[Request]:
    """Requests of all sizes equally often, in random order."""
    chance = random.Random(seed)
    shares = [SHARES[number % len(SHARES)] for number in range(count)]
    chance.shuffle(shares)
    return [
        Request(
            number=number,
            mib=int(share * DEVICE_MIB),
            hold_s=chance.uniform(*hold_s),
            after_s=chance.uniform(0, within_s),
        )
        for number, share in enumerate(shares)
    ]


def draw_unequal_requests(count: int, *, hold_s: tuple[float, float], within_s: float, seed: int) -> list[Request]:
    """Requests as runs make them on `UNEQUAL_DEVICES`: of any device that can hold the model, of one, and of all."""
    chance = random.Random(seed)
    smallest = min(UNEQUAL_DEVICES.values())
    requests = []
    for one in draw_requests(count, hold_s=hold_s, within_s=within_s, seed=seed):
        match chance.choice(["any", "any", "one", "all"]):
            case "all":
                mib = min(one.mib, smallest)
                requests.append(replace(one, mib=mib, limits=tuple(UNEQUAL_DEVICES), spread=True))
                continue
            case "one":
                limits = (chance.choice(list(UNEQUAL_DEVICES)),)
            case _:
                least = one.mib * chance.uniform(0.1, 1)
                limits = tuple(limit for limit, mib in UNEQUAL_DEVICES.items() if mib >= least)
        requests.append(replace(one, limits=limits))
    return requests


# -- the processes -----------------------------------------------------------------------------------------------------


@dataclass
class Simulation:
    """Worker processes on a Prefect server and a database.

    Args:
        program: the server; a running one is shared.
        alone: use Prefect's `concurrency()` without the memory queue, for comparison.
        devices: capacity in MiB, by limit.
        in_turn: a process submits each request after it gave back the last one, instead of all at the same time.
    """

    directory: Path
    database_url: str
    program: PrefectServer
    processes: int = 6
    alone: bool = False
    in_turn: bool = False
    devices: Mapping[str, int] = field(default_factory=lambda: ONE_DEVICE)
    log_path: Path = field(init=False)
    _server: SharedServer = field(init=False)
    _api: PrefectApi = field(init=False)
    _workers: dict[int, subprocess.Popen[bytes]] = field(init=False, default_factory=dict)
    _shares: dict[int, list[Request]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.log_path = self.directory / "log.jsonl"
        self._server = SharedServer(self.program)

    def __enter__(self) -> Simulation:
        self._server.join()
        self._api = self.program.api(self._server.wait_ready())
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            with worker:  # closes its pipes and waits for its end
                worker.kill()
        self._server.leave()

    def start(self, requests: Sequence[Request]) -> None:
        """Distribute the requests to the processes and start them; the clock starts when all are ready."""
        for index in range(self.processes):
            self._shares[index] = [request for request in requests if request.number % self.processes == index]
            self._start(index)
        for worker in self._workers.values():
            assert worker.stdout is not None
            worker.stdout.readline()
        for worker in self._workers.values():
            self._go(worker)

    def kill_a_holder(self) -> int:
        """Kill -9 a process that holds memory; a new one takes over its ungranted requests. Returns the held MiB."""
        while True:
            events = read_log(self.log_path)
            held = {event["number"]: event for event in events if event["event"] == "granted"}
            for event in events:
                if event["event"] == "released":
                    held.pop(event["number"], None)
            holders = {event["process"] for event in held.values() if self._workers[event["process"]].poll() is None}
            if holders:
                break
            assert any(worker.poll() is None for worker in self._workers.values()), "all processes have ended"
            time.sleep(0.1)
        index = min(holders)
        worker = self._workers[index]
        worker.kill()
        worker.wait()
        write_log(self.log_path, event="killed", process=index)
        events = read_log(self.log_path)
        got = {event["number"] for event in events if event["event"] == "granted"}
        self._shares[index] = [request for request in self._shares[index] if request.number not in got]
        gone = {event["number"] for event in events if event["event"] == "released"}
        mine = [e for e in events if e["event"] == "granted" and e["process"] == index and e["number"] not in gone]
        self._start(index)
        replacement = self._workers[index]
        assert replacement.stdout is not None
        replacement.stdout.readline()
        self._go(replacement)
        return sum(event["mib"] for event in mine)

    def restart_server(self, *, with_kill: bool = False) -> None:
        """Stop or kill the Prefect server, and start it again on its port."""
        write_log(self.log_path, event="server stops", process=-1)
        if with_kill:
            process = self._server.process()
            assert process is not None
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        else:
            self._server.stop(force=True)
        again = SharedServer(self.program)
        again.join()
        again.wait_ready()
        self._server.leave()
        self._server = again
        write_log(self.log_path, event="server is back", process=-1)

    def wait(self, timeout_s: float) -> None:
        """Wait until all requests are served."""
        deadline = time.monotonic() + timeout_s
        for index, worker in self._workers.items():
            code = worker.wait(max(0.1, deadline - time.monotonic()))
            assert code == 0, (self.directory / f"worker-{index}.txt").read_text()[-4000:]

    def _start(self, index: int) -> None:
        plan = {
            "process": index,
            "log": str(self.log_path),
            "database_url": self.database_url,
            "alone": self.alone,
            "in_turn": self.in_turn,
            "devices": dict(self.devices),
            "requests": [asdict(request) for request in self._shares[index]],
        }
        with (self.directory / f"worker-{index}.txt").open("ab") as errors:
            self._workers[index] = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.lease_sides", json.dumps(plan)],
                env=child_environment(
                    PREFECT_API_URL=self._api.url,
                    PREFECT_API_AUTH_STRING=self._api.auth_string or "",
                    PREFECT_HOME=str(self.directory / f"client-{index}"),
                    PYTHONPATH=f"{_ROOT}:{_ROOT / 'tests'}",
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @staticmethod
    def _go(worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.flush()


Lease = Callable[[Request], AbstractContextManager[dict[str, int]]]
"""Holds a request's memory for a block: MiB by limit."""


def work(plan: dict) -> None:
    """One process: each thread submits, holds and gives back one request, or one thread handles all."""
    log, process = Path(plan["log"]), plan["process"]
    problems: list[BaseException] = []

    def run(requests: Sequence[Request], lease: Lease) -> None:
        try:
            time.sleep(requests[0].after_s)
            for request in requests:
                known = {"number": request.number, "mib": request.mib, "process": process}
                write_log(log, event="asked", **known)
                with lease(request) as held:
                    write_log(log, event="granted", held=held, **known)
                    time.sleep(request.hold_s)
                    write_log(log, event="released", **known)
        except BaseException as error:
            problems.append(error)
            raise

    with ExitStack() as stack:
        lease = stack.enter_context(_alone() if plan["alone"] else _in_line(plan["database_url"], plan["devices"]))
        requests = [Request(**item) for item in plan["requests"]]
        shares = [requests] if plan["in_turn"] and requests else [[request] for request in requests]
        threads = [threading.Thread(target=run, args=(share, lease)) for share in shares]
        print("ready", flush=True)
        sys.stdin.readline()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.exit(bool(problems))


@contextmanager
def _in_line(database_url: str, devices: dict[str, int]) -> Iterator[Lease]:
    from prefect.client.orchestration import get_client

    from nightreel.database.connection import Database
    from nightreel.domain import MemoryRequest
    from nightreel.orchestration.leases import lease_memory
    from nightreel.orchestration.memory_limits import MemoryLimits

    database = Database(database_url, pool_size=4)
    with get_client(sync_client=True) as client:
        limits = MemoryLimits(client, holder=None, lease_s=LEASE_S)

        @contextmanager
        def lease(wanted: Request) -> Iterator[dict[str, int]]:
            capacities = {limit: devices[limit] for limit in wanted.limits}
            request = MemoryRequest(host=_HOST, capacities=capacities, mib=wanted.mib, spread=wanted.spread)
            with lease_memory(request, limits=limits, database=database, run_id=None) as held:
                yield {limit: request.mib_of(limit) for limit in held.limits}

        yield lease
    database.close()


@contextmanager
def _alone() -> Iterator[Lease]:
    from prefect.client.orchestration import get_client
    from prefect.concurrency.sync import concurrency

    from nightreel.orchestration.memory_limits import MemoryLimits

    with get_client(sync_client=True) as client:
        MemoryLimits(client, holder=None, lease_s=LEASE_S).ensure({_LIMIT: DEVICE_MIB})

    @contextmanager
    def lease(wanted: Request) -> Iterator[dict[str, int]]:
        with concurrency(_LIMIT, occupy=wanted.mib, strict=True, lease_duration=LEASE_S):
            yield {_LIMIT: wanted.mib}

    yield lease


# -- the log -----------------------------------------------------------------------------------------------------------


def write_log(path: Path, **event: object) -> None:
    """Append a line of JSON in one write, so that processes can share the file."""
    with path.open("a") as file:
        file.write(json.dumps({"at": time.time(), **event}) + "\n")


def read_log(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda event: event["at"])


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
