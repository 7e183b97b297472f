"""Sweep some pages of a listing."""

from __future__ import annotations

from nightreel.orchestration.runs import open_run_of
from nightreel.orchestration.task import task
from nightreel.stages.sweep import Swept


@task("sweep")
def sweep(run_id: int, may_be_empty: bool) -> Swept:
    return open_run_of(run_id).sweep.go_on(may_be_empty=may_be_empty)
