"""Rows of bench_pipeline about clips that were analysed before: nothing to do, and one more prompt."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import Measurement, Report, Row, Side, compare, in_subprocess, take_turns

_ROOT = Path(__file__).parents[2]
_PEERS = _ROOT / "build" / "peers" / "bin" / "python"
_OWN_WORK = ("cache", "database", "overhead")  # timings of a run: all but the model and what starts it

Again = Callable[[Side], Side]


def add_rows(
    report: Report,
    source: Path,
    *,
    prompts: Path,
    new: Path,
    again: Again,
    plain: Sequence[str],
    rounds: int,
    agree: Callable[[dict, dict], bool],
    goals: tuple[float | None, float | None],
) -> None:
    """Rows about the clips below `source`, which the last run analysed with `prompts`.

    Args:
        again: makes a side run after the answers to the new prompt are deleted.
        plain: the model and the URL of the database for the plain script.
        goals: of whole runs, and without imports, as shares of the plain script.
    """
    clips = sum(1 for _ in source.glob("*.mp4"))
    title = f"one scored prompt more, {clips:,} known clips"
    ours = "benchmarks.pipeline_sides:ours"
    own = {
        "ours": again(in_subprocess(ours, str(source), [str(new)])),
        "ours_imported": again(in_subprocess(f"{ours}_imported", str(source), [str(new)])),
        "plain": in_subprocess("benchmarks.pipeline_sides:plain", str(source), [str(new)], *plain),
    }
    with _pixeltable(source, new, plain[0]) as peers:
        runs = take_turns({**own, **peers}, rounds=rounds, agree=agree)
    work = [run.value["summary"]["work"] for run in runs["ours"]]
    assert all(set(counted) == {"cached_segments"} for counted in work), work
    note = "ours does not fetch, decode or encode (counted)"
    report.add(compare(f"{title}, whole run", runs, other="plain", metric="wall_s", at_most=goals[0], note=note))
    report.add(compare(f"{title}, whole run: CPU", runs, other="plain", metric="cpu_s"))
    imported = {name: _timed(runs[name], "after_imports_s") for name in ("ours_imported", "plain")}
    report.add(
        compare(
            f"{title}, without imports",
            imported,
            ours="ours_imported",
            other="plain",
            metric="wall_s",
            at_most=goals[1],
        )
    )
    if "pixeltable" in runs:
        report.add(compare(f"{title}, whole run", runs, other="pixeltable", metric="wall_s"))
        started = {"ours": runs["ours"], "pixeltable": _timed(runs["pixeltable"], "after_start_s")}
        note = "without the start of Pixeltable and its Postgres"
        report.add(compare(f"{title}, whole run", started, other="pixeltable", metric="wall_s", note=note))
    report.add(_own_work(runs["ours"], title))
    report.add(_nothing_to_do(source, prompts, rounds))


def _timed(runs: Sequence[Measurement], seconds: str) -> list[Measurement]:
    """The runs with another measure of their time, which each side took itself."""
    return [replace(run, wall_s=run.value[seconds]) for run in runs]


@contextmanager
def _pixeltable(source: Path, new: Path, model: str) -> Iterator[dict[str, Side]]:
    """The side of Pixeltable, after its table has the clips; none if it is not installed."""
    if not _PEERS.exists():
        print(f"Pixeltable is no side: {_PEERS} does not exist, `make bench-peers` installs it", file=sys.stderr)
        yield {}
        return
    side = "benchmarks.pixeltable_side"
    in_subprocess(f"{side}:insert", str(source), python=_PEERS)()
    try:
        yield {"pixeltable": in_subprocess(f"{side}:add_prompt", str(new), model, python=_PEERS)}
    finally:
        in_subprocess(f"{side}:stop", python=_PEERS)()


def _own_work(runs: Sequence[Measurement], title: str) -> Row:
    """Our own time for a segment: reading features, the database, orchestration."""
    shares = [
        1000
        * sum(run.value["summary"]["timings"].get(name, 0.0) for name in _OWN_WORK)
        / run.value["summary"]["segments"]
        for run in runs
    ]
    found = statistics.median(shares)
    name = f"{title}: cache, database and orchestration per segment"
    return Row(name, found, 8.0, "the goal", "ms", found / 8, "<= 1", found <= 8)


def _nothing_to_do(source: Path, prompts: Path, rounds: int) -> Row:
    side = in_subprocess("benchmarks.pipeline_sides:ours", str(source), [str(prompts)])
    runs = [side() for _ in range(rounds)]
    assert not any(run.value["summary"]["segments"] for run in runs)
    found, cpu_s = (statistics.median(getattr(run, metric) for run in runs) for metric in ("wall_s", "cpu_s"))
    note = f"the whole command; {cpu_s:.1f} s of CPU"
    return Row("a run that finds nothing to do", found, 2.5, "the goal", "s", found / 2.5, "<= 1", found <= 2.5, note)
