"""Draw the audits that are due."""

from __future__ import annotations

from nightreel.options import AuditOptions
from nightreel.orchestration.task import task
from nightreel.settings import load_settings
from nightreel.stages.audit import DueAudits, draw_due_audits
from nightreel.stages.database import open_database


@task("draw audits")
def draw(options: AuditOptions) -> DueAudits:
    settings = load_settings().model_copy(update=options.overrides())
    with open_database(settings) as database:
        return draw_due_audits(settings, database)
