"""One run: its options and recipe, its row in Postgres, and its stages, opened in one place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from nightreel.cache.eviction import CacheLimit
from nightreel.database.backfills import Shard, read_shard
from nightreel.database.claims import ClaimOrder, ClaimsInOrder, Selection
from nightreel.database.connection import Database
from nightreel.database.current_recipes import make_current
from nightreel.database.discovery import ListingFilter
from nightreel.database.nights import Night, measured_before, read_night, require_no_night
from nightreel.database.prompt_sets import kept_meanings
from nightreel.database.quarantine import read_quarantine
from nightreel.database.recipes import Recipe, read_recipe, register_recipe
from nightreel.database.runs import RunRegistration, read_run_before, record_environment, recover_dead_runs
from nightreel.domain import PromptSet
from nightreel.domain.chunks import small_bytes
from nightreel.domain.deadlines import Deadline, TimeOfDay
from nightreel.domain.helping import HelperCosts
from nightreel.domain.run_health import RunLimits
from nightreel.environment import describe_environment
from nightreel.errors import SettingsError
from nightreel.metrics import serve_metrics
from nightreel.models.base import ModelSpec
from nightreel.models.embedding import FoundEncoder, find_encoder
from nightreel.models.loading import FoundModel, find_model
from nightreel.options import AnalyzeOptions
from nightreel.prompts.loading import load_prompt_sets
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.ask import Asking
from nightreel.stages.cache import open_cache
from nightreel.stages.database import open_database
from nightreel.stages.decode import Decoding
from nightreel.stages.device_lease import LeaseMemory
from nightreel.stages.discover import Discovery
from nightreel.stages.embed import Embedding, usable_spec
from nightreel.stages.encode import Encoding
from nightreel.stages.helper import HelperRun, IsCancelled, never_cancelled
from nightreel.stages.identify import Identification
from nightreel.stages.index import index_documents
from nightreel.stages.listing import ListingCursor
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recall import Recall
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.rejudge import apply_changes, log_progress
from nightreel.stages.shard import NightDue, ShardRun, no_night_due
from nightreel.stages.show import show_current
from nightreel.stages.sniff import Sniffing
from nightreel.stages.summary import RunSummary, SweepSummary
from nightreel.stages.sweep import Sweep
from nightreel.stages.tombstones import read_tombstone_key
from nightreel.stages.used_revisions import used_revisions
from nightreel.stages.videos import OpenVideos, VideoFiles
from nightreel.stages.write import Writing
from nightreel.storage import Storage, open_storage

logger = logging.getLogger(__name__)

Summary = TypeVar("Summary", bound=RunSummary)


@dataclass(frozen=True, kw_only=True)
class Run:
    """An open run and its stages.

    Args:
        name: what the run is, such as "night 2026-11-26".
        chunks_in_flight: chunks that may be between claim and commit at the same time.
        limits: of failures. dollars_per_hour: of this worker's GPU; None: not known.
    """

    id: int
    name: str
    source: str
    model: str
    chunks_in_flight: int
    limits: RunLimits
    dollars_per_hour: float | None
    database: Database
    recipe: Recipe
    discovery: Discovery
    encoding: Encoding
    asking: Asking
    writing: Writing
    sweep: Sweep
    cache_limit: CacheLimit
    recorder: RunRecorder
    registration: RunRegistration
    shard: ShardRun | None
    helper: HelperRun | None

    def summary(self, kind: type[Summary]) -> Summary:
        """An empty summary of this run."""
        return kind(
            run_id=self.id,
            name=self.name,
            source=self.source,
            model=self.model,
            recipe_id=self.recipe.id,
            limits=self.limits,
            dollars_per_hour=self.dollars_per_hour,
        )

    def finish(self, summary: RunSummary) -> None:
        """Add the work, the timings, the run before and the quarantine to the summary, and end the run in Postgres.

        A shard whose run stopped for an error is not ended here: its flow run fails, and the dispatch counts that.
        """
        summary.take_report(*self.recorder.report())
        summary.device = self.discovery.model.device
        if summary.stopped:
            summary.left = self.discovery.count_left()
        with self.database.begin() as connection:
            before = summary.before = read_run_before(connection, self.id)
            if not isinstance(summary, SweepSummary):
                summary.quarantine = read_quarantine(
                    connection,
                    recipe_id=self.recipe.id,
                    selection=self.discovery.selection,
                    since=before.finished_at if before else None,
                )
        health = summary.health
        status = "failed" if health.red else "completed"
        self.registration.finish(status, counts=summary.to_json(), timings=summary.timings, error=health.red)
        if self.shard and not (health.stop and health.red):
            self.shard.end(stop=health.stop)


@contextmanager
def open_run(
    options: AnalyzeOptions,
    settings: Settings,
    *,
    name: str = "analyze",
    flow_run_id: str | None = None,
    lease_memory: LeaseMemory | None = None,
    night_due: NightDue = no_night_due,
    is_cancelled: IsCancelled = never_cancelled,
) -> Iterator[Run]:
    """Check the options, take back the claims of dead runs, register the run, and create its stages.

    All errors that can be found before the first video is fetched are raised here.

    Args:
        settings: of the process, overridden by the options: `options.settings_for`.
        name: what the run is; the first word is its kind.
        lease_memory: waits for device memory and holds it; None: the model uses any free memory.
        night_due: called by runs of shards. is_cancelled: called by runs of helpers.
    """
    with ExitStack() as stack:
        database = stack.enter_context(open_database(settings, to_write=True))
        recover_dead_runs(database, max_crashes=settings.max_crashes)
        shard, night = _read_shard(database, options.shard), _read_night(database, options.night)
        part = shard or night
        if part:
            settings = settings.model_copy(update={"source": part.source, "model": part.model})
        source = open_storage(settings.source, settings)
        prompts = None
        if not (options.recipe or part):
            prompts = _prompts(database, settings)
        recipe_id = part.recipe_id if part else options.recipe
        with database.begin() as connection:
            used = used_revisions(connection, settings, recipe_id=recipe_id)
        found, encoder = find_model(settings, used=used), find_encoder(settings, used=used)
        with database.begin() as connection:
            if prompts:
                recipe = _register(connection, settings, found.spec, prompts)
            else:
                recipe = _known_recipe(connection, recipe_id, found.spec)
        _bring_up_to_date(
            database,
            recipe,
            source=source.url,
            name=name,
            instead=shard is not None,
            languages=settings.search_languages,
        )
        settings = settings.model_copy(update={"plan": str(recipe.plan), "window_s": recipe.plan.window_s})
        ready_by = _ready_by(options, settings, night, name=name)
        registration = stack.enter_context(
            RunRegistration(
                database,
                lease_s=settings.lease_s,
                check=partial(require_no_night, source=source.url, recipe_id=recipe.id)
                if name.startswith("night ")
                else lambda _: None,
                flow_run_id=flow_run_id,
                name=name,
                source=source.url,
                recipe_id=recipe.id,
                shard_id=options.shard,
                night_id=options.night,
                ready_by=ready_by,
                options=options.model_dump(mode="json"),
                settings=settings.public(),
                environment=describe_environment(settings, devices=False),  # the model session adds the devices
            )
        )
        shard_run = None
        if shard:
            shard_run = ShardRun(shard=shard, run_id=registration.id, database=database, night_due=night_due)
        helper = HelperRun(night=night, database=database, is_cancelled=is_cancelled) if night else None
        run = stack.enter_context(
            _stages(
                settings,
                name=name,
                source=source,
                selection=part.selection if part else _selection(options, source),
                recipe=recipe,
                found=found,
                encoder=encoder,
                database=database,
                registration=registration,
                lease_memory=lease_memory,
                shard=shard_run,
                helper=helper,
                deadline=_deadline(database, registration.id, ready_by, chunk=settings.chunk_segments),
            )
        )
        stack.enter_context(serve_metrics(settings, database=database, registry=run.recorder.registry))
        yield run


@contextmanager
def _stages(
    settings: Settings,
    *,
    name: str,
    source: Storage,
    selection: Selection,
    recipe: Recipe,
    found: FoundModel,
    encoder: FoundEncoder | None,
    database: Database,
    registration: RunRegistration,
    lease_memory: LeaseMemory | None,
    shard: ShardRun | None,
    helper: HelperRun | None,
    deadline: Deadline,
) -> Iterator[Run]:
    """Create the stages of a run. The end of the block releases files, decode processes and model."""
    run_id = registration.id
    recorder = RunRecorder()
    small = small_bytes(found.spec.backend)
    part = shard or helper
    why_stop = _or_late(part.why_stop if part else lambda: None, deadline)
    videos = OpenVideos()
    cache = open_cache(settings, database, on_rejected=partial(recorder.count, "rejected_features"))
    cache_limit = CacheLimit(database, cache, limit_bytes=settings.cache_limit_bytes)
    admit = ListingFilter(
        suffixes=tuple(suffix.lower() for suffix in settings.suffixes),
        named=selection.named,
        since=selection.since,
        until=selection.until,
    )

    def record(facts: dict[str, Any]) -> None:
        with database.begin() as connection:
            record_environment(connection, run_id, facts)

    read_key = partial(read_tombstone_key, settings)
    with database.begin() as connection:
        spec = usable_spec(connection, encoder.spec if encoder else None)
    with ExitStack() as stack:
        files = stack.enter_context(VideoFiles(source, settings, recorder, record))
        stack.callback(videos.close_all)
        model = ModelSession(
            settings,
            found=found,
            encoder=encoder if spec else None,
            recipe=recipe,
            run_id=run_id,
            database=database,
            recorder=recorder,
            lease_memory=lease_memory,
            why_stop=_or_late(helper.why_not_begin, deadline) if helper else why_stop,
        )
        stack.callback(model.close)
        embedding = Embedding(spec=spec, model=model, database=database, recipe=recipe, recorder=recorder)
        identification = Identification(
            database=database,
            recipe=recipe,
            run_id=run_id,
            files=files,
            recorder=recorder,
            read_tombstone_key=read_key,
        )
        decoding = Decoding(
            database=database,
            recipe=recipe,
            run_id=run_id,
            videos=videos,
            files=files,
            identification=identification,
            recall=Recall(
                database=database,
                recipe=recipe,
                spec=found.spec,
                recorder=recorder,
                chunk_segments=settings.chunk_segments,
            ),
            cache=cache,
            model=model,
            recorder=recorder,
            small_bytes=small,
        )
        yield Run(
            id=run_id,
            name=name,
            source=source.url,
            model=found.spec.name,
            chunks_in_flight=settings.chunks_in_flight,
            limits=RunLimits(
                failed_share=settings.max_failed_share,
                same_failures=settings.max_same_failures,
                quarantined=settings.max_quarantined,
                server_silent_s=settings.prefect_patience_s,
            ),
            dollars_per_hour=settings.gpu_dollars_per_hour,
            database=database,
            recipe=recipe,
            discovery=Discovery(
                database=database,
                recipe=recipe,
                run_id=run_id,
                selection=selection,
                listing=ListingCursor(source, selection, settings),
                admit=admit,
                sniffing=Sniffing(source=source, database=database, admit=admit),
                claims=ClaimsInOrder(
                    selection,
                    recipe=recipe,
                    run_id=run_id,
                    chunk_segments=settings.chunk_segments,
                    small_bytes=small,
                    lease_s=settings.lease_s,
                    first=[f"{source.url}/{prefix.lstrip('/')}" for prefix in settings.first],
                    order=ClaimOrder(settings.order),
                ),
                recorder=recorder,
                chunk_segments=settings.chunk_segments,
                max_crashes=settings.max_crashes,
                deadline=deadline,
                why_stop=why_stop,
                helper=helper,
                read_tombstone_key=read_key,
                model=model,
                cache=cache,
                files=files,
            ),
            encoding=Encoding(
                database=database,
                recipe=recipe,
                run_id=run_id,
                decoding=decoding,
                cache=cache,
                cache_limit=cache_limit,
                model=model,
                embedding=embedding,
                recorder=recorder,
                chunk_segments=settings.chunk_segments,
                decode_workers=settings.decode_processes,
                thumbnail_px=settings.thumbnail_px,
            ),
            asking=Asking(
                database=database,
                recipe=recipe,
                run_id=run_id,
                videos=videos,
                cache=cache,
                model=model,
                recorder=recorder,
            ),
            writing=Writing(
                database=database,
                recipe=recipe,
                run_id=run_id,
                max_attempts=settings.max_attempts,
                videos=videos,
                embedding=embedding,
                recorder=recorder,
                deadline=deadline,
            ),
            sweep=Sweep(
                source,
                database=database,
                admit=admit,
                recipe_id=recipe.id,
                run_id=run_id,
                page_size=settings.page_size,
                recorder=recorder,
                read_tombstone_key=read_key,
            ),
            cache_limit=cache_limit,
            recorder=recorder,
            registration=registration,
            shard=shard,
            helper=helper,
        )


def _selection(options: AnalyzeOptions, source: Storage) -> Selection:
    if outside := [uri for uri in options.only or () if not uri.startswith(f"{source.url}/")]:
        raise SettingsError(f"only: {outside[0]!r} is not below the source {source.url}: name what is in it")
    return Selection(f"{source.url}/", options.since, options.until, only=options.only)


def _read_shard(database: Database, shard_id: int | None) -> Shard | None:
    if shard_id is None:
        return None
    with database.begin() as connection:
        return read_shard(connection, shard_id)


def _read_night(database: Database, run_id: int | None) -> Night | None:
    if run_id is None:
        return None
    with database.begin() as connection:
        return read_night(connection, run_id)


def _ready_by(options: AnalyzeOptions, settings: Settings, night: Night | None, *, name: str) -> datetime | None:
    """When the run must be done: a helper when its night must be, other runs by their option, nights by the setting."""
    if night:
        return night.ready_by
    said = options.ready_by or (settings.ready_by if name.startswith("night ") else None)
    return TimeOfDay.parse(said).after(datetime.now(UTC)) if said else None


def _or_late(why_stop: Callable[[], str | None], deadline: Deadline) -> Callable[[], str | None]:
    """Why a run should stop: its own reason, or that no further chunk would be done in time."""
    return lambda: why_stop() or deadline.why_stop(datetime.now(UTC))


def _deadline(database: Database, run_id: int, ready_by: datetime | None, *, chunk: int) -> Deadline:
    if ready_by is None:
        return Deadline()
    with database.begin() as connection:
        timings, videos = measured_before(connection, run_id)
    costs = HelperCosts.of(timings, videos=videos)
    return Deadline(ready_by, first_chunk_s=costs.start_s + chunk * (costs.video_s or 0.0))


def _prompts(database: Database, settings: Settings) -> PromptSet:
    """The prompt sets of the settings. A shipped set may keep the meaning that it had for this database."""
    with database.begin() as connection:
        names = kept_meanings(connection, settings.prompt_sets)
    return load_prompt_sets(names, coverage=settings.min_coverage)


def _bring_up_to_date(
    database: Database, recipe: Recipe, *, source: str, name: str, instead: bool, languages: Sequence[str]
) -> None:
    """Judge stored answers by the policies in force, index them, and make the recipe current where it should be.

    Args:
        languages: of `stages.index.index_documents`.
        name: of the run; its first word is its kind.
        instead: whether the run makes its recipe current where another one is; a night always does.
    """
    apply_changes(database, on_progress=log_progress)
    index_documents(database, languages=languages)
    kind = name.split(" ", 1)[0]
    if kind in ("sweep", "retry", "helper"):
        return
    with database.begin() as connection:
        changed = make_current(
            connection,
            recipe.id,
            source=source,
            set_names={prompt.set_name for prompt in recipe.prompts.prompts},
            made_by=name,
            instead=instead or kind == "night",
        )
    if changed:
        logger.debug("recipe %d is current for %s of %s", recipe.id, ", ".join(changed), source)
    show_current(database)


def _register(connection: Connection, settings: Settings, spec: ModelSpec, prompts: PromptSet) -> Recipe:
    return register_recipe(
        connection,
        model_hash=spec.hash,
        model_spec=spec.to_json(),
        plan=settings.sampling_plan,
        prompts=prompts,
    )


def _known_recipe(connection: Connection, recipe_id: int | None, spec: ModelSpec) -> Recipe:
    """The recipe of an earlier run.

    Raises:
        SettingsError: its model is not the one that this process would load.
    """
    assert recipe_id is not None
    recipe, model = read_recipe(connection, recipe_id)
    if model.hash != spec.hash:
        raise SettingsError(
            f"recipe {recipe_id} is of model {model.name!r}, revision {model.revision}; this process has "
            f"{spec.name!r}, revision {spec.revision}, or another dtype, attention or version of transformers: set "
            "NIGHTREEL_MODEL and its options to the values of the earlier run",
            reason=Reason.OTHER_MODEL,
        )
    return recipe
