"""One run from its start to its end: what it wants, what it works with, who it is in Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from nightreel.database.backfills import read_shard
from nightreel.database.claims import Selection
from nightreel.database.connection import Database
from nightreel.database.migrations import require_current, upgrade
from nightreel.database.recipes import Recipe, read_recipe, register_recipe
from nightreel.database.runs import RunRegistration, recover_dead_runs
from nightreel.doctor import examine
from nightreel.errors import SettingsError
from nightreel.metrics import serve_metrics
from nightreel.models.base import ModelSpec
from nightreel.models.loading import describe_model
from nightreel.options import AnalyzeOptions
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import open_services
from nightreel.settings import Settings, load_settings
from nightreel.stages.leasing import LeaseMemory
from nightreel.stages.shard import NightWaits, ShardRun, nobody_waits
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
    if not settings.source and options.shard is None:
        raise SettingsError("no source: give a directory or s3://bucket/prefix, or set NIGHTREEL_SOURCE")
    return settings


@dataclass(frozen=True, kw_only=True)
class StagedRun:
    """A run as its orchestrator sees it."""

    bench: Workbench
    registration: RunRegistration
    shard: ShardRun | None

    def finish(self, status: str, *, stop: str | None, **facts: Any) -> None:
        """Close the run in good order.

        Args:
            stop: why it ended early, if it did.
            facts: counts and timings, as `RunRegistration.finish` takes them.
        """
        self.registration.finish(status, **facts)
        if self.shard:
            self.shard.end(stop=stop)


@contextmanager
def open_run(
    options: AnalyzeOptions,
    *,
    flow_run_id: str | None = None,
    lease_memory: LeaseMemory | None = None,
    night_waits: NightWaits = nobody_waits,
) -> Iterator[StagedRun]:
    """Check the options, register the run, take back what dead runs left, and lay out a workbench.

    Everything that can be wrong before any video is touched is wrong here.

    Args:
        lease_memory: keeps the books of the devices' memory; None: the model takes what it finds.
        night_waits: asked by runs of shards.
    """
    settings = settings_for(options)
    prompts = None if options.recipe or options.shard else load_prompt_sets(settings.prompts)
    spec = None if options.shard else describe_model(settings)
    if not options.shard:
        open_storage(settings.source, settings)  # a wrong one is found before any service is started
    with ExitStack() as stack:
        database = stack.enter_context(open_database(settings))
        recover_dead_runs(database, max_attempts=settings.max_attempts)
        shard = None
        if options.shard:
            with database.begin() as connection:
                shard = read_shard(connection, options.shard)
            settings = settings.model_copy(update={"source": shard.source, "model": shard.model})
        spec = spec or describe_model(settings)
        with database.begin() as connection:
            if prompts:
                recipe = register_recipe(
                    connection,
                    model_hash=spec.hash,
                    model_spec=spec.to_json(),
                    plan=settings.sampling_plan,
                    prompts=prompts,
                )
            else:
                recipe = _known_recipe(connection, shard.recipe_id if shard else options.recipe, spec)
        settings = settings.model_copy(update={"plan": str(recipe.plan), "window_s": recipe.plan.window_s})
        source = open_storage(settings.source, settings)
        registration = stack.enter_context(
            RunRegistration(
                database,
                lease_s=settings.lease_s,
                max_attempts=settings.max_attempts,
                flow_run_id=flow_run_id,
                source=source.url,
                recipe_id=recipe.id,
                shard_id=options.shard,
                options=options.model_dump(mode="json"),
                settings=settings.public(),
                environment=examine(settings, devices=False).to_json(),  # a night without news needs none
            )
        )
        run = (
            ShardRun(shard=shard, run_id=registration.id, database=database, night_waits=night_waits) if shard else None
        )
        bench = Workbench(
            settings,
            database=database,
            source=source,
            selection=shard.selection if shard else Selection(f"{source.url}/", options.since, options.until),
            recipe=recipe,
            spec=spec,
            run_id=registration.id,
            lease_memory=lease_memory,
            why_stop=run.why_stop if run else lambda: None,
        )
        stack.callback(bench.close)
        stack.enter_context(serve_metrics(settings, database=database, registry=bench.metrics.registry))
        yield StagedRun(bench=bench, registration=registration, shard=run)


def _known_recipe(connection: Connection, recipe_id: int | None, spec: ModelSpec) -> Recipe:
    """A recipe of before.

    Raises:
        SettingsError: it is of another model than the one that this process would load.
    """
    assert recipe_id is not None
    recipe, model = read_recipe(connection, recipe_id)
    if model.hash != spec.hash:
        raise SettingsError(
            f"recipe {recipe_id} is of model {model.name!r}, revision {model.revision}, this process has "
            f"{spec.name!r}, revision {spec.revision}, or another dtype, attention or version of transformers: set "
            "NIGHTREEL_MODEL and what belongs to it as they were",
            reason="other_model",
        )
    return recipe
