"""Delete old flow runs from Prefect."""

from __future__ import annotations

from nightreel.orchestration import tidying
from nightreel.orchestration.task import task
from nightreel.orchestration.tidying import Tidied
from nightreel.settings import load_settings


@task("tidy prefect")
def tidy(keep_days: int | None) -> Tidied | None:
    return tidying.tidy_prefect(load_settings(), keep_days)
