"""One run from its start to its end: what it wants, what it works with, who it is in Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nightreel.database.connection import Database
from nightreel.database.migrations import require_current, upgrade
from nightreel.database.recipes import register_recipe
from nightreel.database.runs import RunRegistration, recover_dead_runs
from nightreel.discovery import ListingFilter
from nightreel.doctor import examine
from nightreel.errors import SettingsError
from nightreel.metrics import serve_metrics
from nightreel.models.loading import describe_model
from nightreel.options import AnalyzeOptions
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import open_services
from nightreel.settings import Settings, load_settings
from nightreel.stages.leasing import LeaseMemory
from nightreel.stages.workbench import Workbench
from nightreel.storage import open_storage


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The configured Postgres, or the embedded one for as long as the block lasts, with the tables of this version.

    Raises:
        PermanentError: `database_schema` where a configured database needs `nightreel db upgrade`.
    """
    with open_services(settings, prefect=False) as endpoints:
        database = Database(endpoints.database_url)
        try:
            with database.translated():
                if settings.database_url is None:
                    upgrade(database.engine)
                else:
                    require_current(database.engine)
            yield database
        finally:
            database.close()


def settings_for(options: AnalyzeOptions) -> Settings:
    """The process's settings with what the options override.

    Raises:
        SettingsError: also if neither names a source.
    """
    settings = load_settings(
        source=options.source,
        prompts=options.prompts,
        model=options.model,
        plan=options.plan,
        chunk_segments=options.chunk_segments,
    )
    if not settings.source:
        raise SettingsError("no source: give a directory or s3://bucket/prefix, or set NIGHTREEL_SOURCE")
    return settings


@contextmanager
def open_run(
    options: AnalyzeOptions, *, flow_run_id: str | None = None, lease_memory: LeaseMemory | None = None
) -> Iterator[tuple[Workbench, RunRegistration]]:
    """Check the options, register the run, take back what dead runs left, and lay out a workbench.

    Everything that can be wrong before any video is touched is wrong here.

    Args:
        lease_memory: keeps the books of the devices' memory; None: the model takes what it finds.
    """
    settings = settings_for(options)
    prompts = load_prompt_sets(settings.prompts)
    spec = describe_model(settings)
    source = open_storage(settings.source, settings)
    with ExitStack() as stack:
        database = stack.enter_context(open_database(settings))
        recover_dead_runs(database, max_attempts=settings.max_attempts)
        with database.begin() as connection:
            recipe = register_recipe(
                connection,
                model_hash=spec.hash,
                model_spec=spec.to_json(),
                plan=settings.sampling_plan,
                prompts=prompts,
            )
        registration = stack.enter_context(
            RunRegistration(
                database,
                lease_s=settings.lease_s,
                max_attempts=settings.max_attempts,
                flow_run_id=flow_run_id,
                source=source.url,
                recipe_id=recipe.id,
                options=options.model_dump(mode="json"),
                settings=settings.public(),
                environment=examine(settings, devices=False).to_json(),  # a night without news needs none
            )
        )
        bench = Workbench(
            settings,
            database=database,
            source=source,
            admit=ListingFilter(
                suffixes=tuple(suffix.lower() for suffix in settings.suffixes),
                since=options.since,
                until=options.until,
            ),
            recipe=recipe,
            spec=spec,
            run_id=registration.id,
            lease_memory=lease_memory,
        )
        stack.callback(bench.close)
        stack.enter_context(serve_metrics(settings, database=database, registry=bench.metrics.registry))
        yield bench, registration
