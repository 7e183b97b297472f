"""Carry out what people asked for in the console."""

from __future__ import annotations

from nightreel.orchestration.forgetting import forget_in_prefect
from nightreel.orchestration.task import task
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.deliver import over_after
from nightreel.stages.requests import CarriedOut, carry_out_requests, erasing_for


@task("carry out requests")
def carry_out(most_s: float) -> CarriedOut:
    settings = load_settings()
    with open_database(settings, to_write=True) as database:
        erase = erasing_for(settings, database, forget=forget_in_prefect(settings))
        return carry_out_requests(database, erase=erase, is_over=over_after(most_s))
