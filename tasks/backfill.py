"""Backfills: planned, accepted, and their shards handed to Prefect."""

from __future__ import annotations

from prefect.client.orchestration import get_client

from nightreel.options import BackfillOptions
from nightreel.orchestration.dispatch import Dispatched, dispatch
from nightreel.orchestration.runtime import task
from nightreel.settings import load_settings
from nightreel.stages.backfill import list_backfill
from nightreel.stages.backfill_costs import BackfillPlan
from nightreel.stages.run import open_database


@task("plan backfill")
def plan_backfill(options: BackfillOptions) -> tuple[BackfillPlan, int | None]:
    """The plan, and the id of the backfill where it is accepted and there is something to do."""
    assert options.videos
    settings = load_settings()
    with open_database(settings) as database, list_backfill(options.videos, database=database) as listed:
        plan = listed.plan()
        if not options.accept or not plan.shards:
            return plan, None
        return plan, listed.accept(pool=options.pool or settings.work_pool)


@task("submit shards")
def submit_shards(*, linked: bool) -> Dispatched:
    settings = load_settings()
    with open_database(settings) as database, get_client(sync_client=True) as client:
        return dispatch(database, client, settings, linked=linked)
