"""Put failed videos back to pending if the reason may have passed."""

from __future__ import annotations

from nightreel.database.retries import ReopenedWork
from nightreel.orchestration.task import task
from nightreel.stages.retry import reopen_failed


@task("reopen")
def reopen(limit: int, max_reopened: int) -> list[ReopenedWork]:
    return reopen_failed(limit=limit, max_reopened=max_reopened)
