"""Erase the videos that are too old to be kept."""

from __future__ import annotations

from nightreel.options import RetentionOptions
from nightreel.orchestration.task import task
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.erase import Retained, apply_retention


@task("retention")
def retire(options: RetentionOptions) -> Retained:
    settings = load_settings().model_copy(update=options.overrides())
    with open_database(settings, to_write=True) as database:
        return apply_retention(settings, database)
