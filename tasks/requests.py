"""Carry out what people asked for in the console."""

from __future__ import annotations

from nightreel.orchestration.task import task
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.deliver import over_after
from nightreel.stages.requests import CarriedOut, carry_out_requests


@task("carry out requests")
def carry_out(most_s: float) -> CarriedOut:
    with open_database(load_settings()) as database:
        return carry_out_requests(database, is_over=over_after(most_s))
