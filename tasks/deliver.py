"""Send the events of the outbox to their webhooks."""

from __future__ import annotations

from nightreel.orchestration.task import task
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.deliver import Delivered, deliver_due, over_after


@task("deliver")
def deliver(most_s: float) -> Delivered:
    settings = load_settings()
    with open_database(settings) as database:
        return deliver_due(database, settings, is_over=over_after(most_s))
