"""Estimate and accept backfills, and submit their shards to Prefect."""

from __future__ import annotations

from nightreel.options import BackfillOptions
from nightreel.orchestration.dispatch import Dispatched, dispatch_shards
from nightreel.orchestration.task import task
from nightreel.stages.backfill import estimate_or_accept
from nightreel.stages.backfill_costs import BackfillEstimate


@task("plan backfill")
def estimate_backfill(options: BackfillOptions) -> tuple[BackfillEstimate, int | None]:
    return estimate_or_accept(options)


@task("submit shards")
def submit_shards(*, linked: bool) -> Dispatched:
    return dispatch_shards(linked=linked)
