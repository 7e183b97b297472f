"""The common parts of all benchmarks: sides that take turns, a printed table, and `build/bench/<part>.json`.

    sides = {"ours": in_subprocess("bench_decode:ours", path), "decord": in_subprocess("bench_decode:decord", path)}
    runs = take_turns(sides, rounds=5, agree=lambda a, b: a == b)
    report = Report("decode", versions=("av", "decord"))
    report.add(compare("1080p, 8 frames", runs, other="decord", metric="cpu_s", at_most=1.0))
    report.finish()

Sides run A B A B in one session, so that a slow minute of the machine affects all sides. A side is a function without
arguments that returns a `Measurement`. `in_subprocess` gives each run its own process: only then is the peak memory
that of the run.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # each side imports this module
    from nightreel.services.endpoints import Endpoints

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
Metric = Literal["wall_s", "cpu_s", "peak_rss_mib"]


@dataclass(frozen=True)
class Measurement:
    """One run of one side. `value` is its result, as JSON, for a comparison of the sides."""

    wall_s: float
    cpu_s: float
    peak_rss_mib: float
    value: Any = field(default=None, repr=False)


Side = Callable[[], Measurement]


@dataclass(frozen=True)
class Row:
    """A row of the table. `ratio`: ours over the other's, the median over the rounds; `goal`: its bounds."""

    name: str
    ours: float
    other: float
    other_is: str
    unit: str
    ratio: float
    goal: str
    met: bool
    note: str = ""

    @classmethod
    def of_seconds(cls, name: str, seconds: float, goal_s: float | None, note: str = "") -> Row:
        """Seconds beside their goal; None: they have none."""
        return cls(
            name=name,
            ours=seconds,
            other=goal_s or 0.0,
            other_is="goal",
            unit="s",
            ratio=seconds / goal_s if goal_s else 0.0,
            goal=f"at most {goal_s:g} s" if goal_s else "none",
            met=goal_s is None or seconds <= goal_s,
            note=note,
        )


def measure(function: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run `function` in this process. Peak memory counts from the start of this process; CPU time includes all
    threads and awaited children."""
    cpu_s, started = _cpu_seconds(), time.perf_counter()
    value = function(*arguments)
    return Measurement(time.perf_counter() - started, _cpu_seconds() - cpu_s, _peak_rss_mib(), value)


def in_process(function: Callable[..., Any], *arguments: Any) -> Side:
    """A side that runs in this process, for benchmarks that report no memory."""
    return lambda: measure(function, *arguments)


def in_subprocess(target: str, *arguments: Any, python: str | Path = sys.executable) -> Side:
    """A side that runs in a new process each time; the import of its module does not count.

    Args:
        target: "module:function" in this directory; the function must return JSON.
        arguments: JSON values.
        python: interpreter of another environment.
    """

    def run() -> Measurement:
        command = [str(python), __file__, target, json.dumps(arguments)]
        environment = {**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests'}:{_HERE}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{target}{arguments!r} exited with status {done.returncode}:\n{done.stderr[-4000:]}")
        return Measurement(**json.loads(done.stdout.splitlines()[-1]))

    return run


def take_turns(
    sides: Mapping[str, Side], *, rounds: int = 5, agree: Callable[[Any, Any], bool] | None = None
) -> dict[str, list[Measurement]]:
    """Run every side once a round, in turn.

    Args:
        agree: compares the value of the first side with that of each other side, in each round.

    Raises:
        AssertionError: two sides do not agree, so their figures are not comparable.
    """
    runs: dict[str, list[Measurement]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            runs[name].append(side())
        first, *others = sides
        for name in others if agree else ():
            ours, theirs = runs[first][-1].value, runs[name][-1].value
            assert agree is not None
            assert agree(ours, theirs), f"{first} and {name} do not agree: {ours!r:.2000} and {theirs!r:.2000}"
    return runs


def compare(
    name: str,
    runs: Mapping[str, Sequence[Measurement]],
    *,
    other: str,
    metric: Metric,
    ours: str = "ours",
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """A row that compares `ours` with `other` in `metric`; medians over the rounds.

    Args:
        at_most, at_least: bounds of the ratio of ours to the other's. A row without bounds has no goal and is met.
    """
    mine = [getattr(run, metric) for run in runs[ours]]
    theirs = [getattr(run, metric) for run in runs[other]]
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    bounds = [f"{sign} {bound:g}" for sign, bound in (("<=", at_most), (">=", at_least)) if bound is not None]
    return Row(
        name=name,
        ours=statistics.median(mine),
        other=statistics.median(theirs),
        other_is=other,
        unit=metric.rpartition("_")[2],
        ratio=ratio,
        goal=" and ".join(bounds) or "none",
        met=(at_most is None or ratio <= at_most) and (at_least is None or ratio >= at_least),
        note=note,
    )


class Report:
    """The rows of one benchmark.

    Args:
        part: its name, as in `make bench-<part>`.
        versions: distributions whose versions the report lists.
        gpu: name of the device, if any.
    """

    def __init__(self, part: str, *, versions: Sequence[str] = (), gpu: str = "") -> None:
        self.gpu = gpu
        self._part = part
        self._header = header(versions)
        if gpu:
            self._header["machine"]["gpu"] = gpu
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add a row and print it: a benchmark takes minutes."""
        self._rows.append(row)
        figures = f"{row.ours:.3g} {row.unit}, {row.other_is} {row.other:.3g}, ratio {row.ratio:.2f}"
        print(f"{row.name}: {figures}", flush=True)

    def finish(self, directory: Path = _ROOT / "build" / "bench") -> Path:
        """Print the table and write the JSON; both include rows that missed their goal."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self._part}.json"
        content = {"header": self._header, "rows": [asdict(row) for row in self._rows]}
        path.write_text(json.dumps(content, indent=1) + "\n")
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(self._table())
        missed = sum(not row.met for row in self._rows)
        console.print(f"{len(self._rows)} rows, {missed} short of their goal; written to {path}")
        return path

    def _table(self) -> Table:
        machine = self._header["machine"]
        where = f"{machine['cpu']}, {machine['cores']} cores, commit {self._header['commit']}"
        table = Table(title=f"{self._part}: {where}")
        for heading in ("name", "ours", "other", "other side", "ratio", "goal", "met", "note"):
            table.add_column(heading, justify="right" if heading in ("ours", "other", "ratio") else "left")
        for row in self._rows:
            table.add_row(
                row.name,
                f"{row.ours:.3g} {row.unit}",
                f"{row.other:.3g} {row.unit}",
                row.other_is,
                f"{row.ratio:.2f}",
                row.goal,
                "yes" if row.met else "[red]no[/red]",
                row.note,
            )
        return table


def use_prefect(services: Endpoints) -> None:
    """Let this process and its children use the Prefect server of these services."""
    assert services.prefect
    os.environ["PREFECT_API_URL"] = services.prefect.url
    if services.prefect.auth_string:
        os.environ["PREFECT_API_AUTH_STRING"] = services.prefect.auth_string


def header(versions: Sequence[str]) -> dict[str, Any]:
    """The context of every figure: the machine, the versions, the commit, the date."""
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in versions}},
        "commit": _commit(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Short hash, with a + if tracked files differ from the commit."""
    git = ["git", "-C", str(_ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    return (commit.stdout.strip() or "unknown") + "+" * changed.returncode


def _cpu_seconds() -> float:
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def _peak_rss_mib() -> float:
    """The larger of this process's peak and its largest child's peak. Our own peak is not ru_maxrss, which starts at
    the parent's memory at the fork."""
    status = Path("/proc/self/status").read_text()
    own_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return max(own_kib, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def _run_side() -> None:
    """In the subprocess: `harness.py module:function '[arguments]'`; the last line printed is the measurement."""
    module, _, function = sys.argv[1].partition(":")
    target = getattr(importlib.import_module(module), function)
    print(json.dumps(asdict(measure(target, *json.loads(sys.argv[2])))))


if __name__ == "__main__":
    _run_side()
