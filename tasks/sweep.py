"""The sweep of an open run: some pages a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nightreel.orchestration.runtime import bench, task
from nightreel.stages.summary import RunSummary
from nightreel.stages.sweep import Sweep, Swept

_sweeps: dict[int, Sweep] = {}


class SweepSummary(RunSummary):
    """What a sweep found, in numbers. It works on no video."""

    @property
    def headline(self) -> str:
        found = self.listing
        return (
            f"{found.listed} objects listed: {found.new} new, {found.changed} changed, {found.back} back, "
            f"{found.gone} gone"
        )


@contextmanager
def open_sweep(run_id: int, *, may_be_empty: bool) -> Iterator[None]:
    """Let the tasks of an open run sweep its source, for the length of the block."""
    _sweeps[run_id] = Sweep(bench(run_id), may_be_empty=may_be_empty)
    try:
        yield
    finally:
        del _sweeps[run_id]


@task("sweep")
def sweep(run_id: int) -> Swept:
    return _sweeps[run_id].go_on()
