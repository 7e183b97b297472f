"""Plan a backfill and accept it, for a flow and a command. Analyses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from nightreel.database.backfill_work import (
    ListingTable,
    first_wanted,
    listing_table,
    measured_work,
    second_look_shares,
    wanted_work,
)
from nightreel.database.backfills import add_backfill
from nightreel.database.connection import Database
from nightreel.database.discovery import ListingFilter
from nightreel.database.prompt_sets import kept_meanings
from nightreel.database.recipes import Recipe, register_recipe
from nightreel.database.requirements import require_rights
from nightreel.domain import PromptSet
from nightreel.errors import SettingsError
from nightreel.models.base import ModelSpec
from nightreel.models.loading import describe_model
from nightreel.options import AnalyzeOptions, BackfillOptions, settings_for
from nightreel.prompts.loading import load_prompt_sets
from nightreel.settings import Settings, load_settings
from nightreel.stages.backfill_costs import SHARD_VIDEOS, BackfillEstimate, Rates, SecondLooks, UnitCosts
from nightreel.stages.database import open_database
from nightreel.stages.used_revisions import used_revisions
from nightreel.storage import Storage, open_inventory, open_storage

_SHOWN_FIRST = 5


@dataclass(frozen=True, kw_only=True)
class ListedBackfill:
    """A listing to plan and accept; it exists in the database only within the block of `list_backfill`."""

    options: AnalyzeOptions
    settings: Settings
    spec: ModelSpec
    prompts: PromptSet
    source: Storage
    listing: ListingTable
    listed: int
    shard_videos: int

    def estimate(self) -> BackfillEstimate:
        """The work and cost of the backfill. Leaves nothing in the database."""
        with self.listing.transaction(keep=False) as connection:
            return self._estimate(connection, self._recipe(connection))

    def accept(self, *, pool: str) -> int:
        """Store the backfill and its shards, planned again now; returns its id.

        Raises:
            SettingsError: there is nothing to do.
        """
        with self.listing.transaction(keep=True) as connection:
            recipe = self._recipe(connection)
            plan = self._estimate(connection, recipe)
            if not plan.shards:
                raise SettingsError(f"nothing to do: all {plan.totals.admitted} videos of {plan.source} are analysed")
            return add_backfill(
                connection,
                source=self.source.url,
                since=self.options.since,
                until=self.options.until,
                recipe_id=recipe.id,
                model=self.settings.model,
                pool=pool,
                plan=plan.to_json(),
                shards=plan.shards,
            )

    def _recipe(self, connection: Connection) -> Recipe:
        return register_recipe(
            connection,
            model_hash=self.spec.hash,
            model_spec=self.spec.to_json(),
            plan=self.settings.sampling_plan,
            prompts=self.prompts,
        )

    def _estimate(self, connection: Connection, recipe: Recipe) -> BackfillEstimate:
        measured = measured_work(connection, recipe)
        totals, shards = wanted_work(
            connection, recipe, bytes_per_s=measured.bytes_per_s, shard_videos=self.shard_videos
        )
        shares = second_look_shares(connection, recipe)
        segments = totals.to_ask / len(recipe.segment_question_ids)
        looks = SecondLooks.of(shares, segments=segments, window_s=recipe.plan.window_s)
        return BackfillEstimate(
            source=self.source.url,
            model=self.spec.name,
            listed=self.listed,
            prompts=len(self.prompts),
            totals=totals,
            costs=UnitCosts.of(measured),
            rates=Rates(
                gpu_hour=self.settings.gpu_dollars_per_hour, gib_month=self.settings.storage_dollars_per_gib_month
            ),
            guessed_by=measured.bytes_per_s,
            measured_videos=measured.videos,
            shards=tuple(shards),
            first=first_wanted(connection, limit=_SHOWN_FIRST),
            second_looks=looks if shares else None,
        )


def estimate_or_accept(options: BackfillOptions) -> tuple[BackfillEstimate, int | None]:
    """Plan a backfill, and start it if the options accept it and it has work.

    Returns:
        The plan, and the id of the backfill; None if it was not started.
    """
    assert options.videos
    settings = load_settings()
    run_settings = settings_for(options.videos, settings)
    with (
        open_database(settings) as database,
        list_backfill(options.videos, run_settings, database=database) as listed,
    ):
        plan = listed.estimate()
        if not options.accept or not plan.shards:
            return plan, None
        return plan, listed.accept(pool=options.pool or settings.work_pool)


@contextmanager
def list_backfill(
    options: AnalyzeOptions,
    settings: Settings,
    *,
    database: Database,
    shard_videos: int = SHARD_VIDEOS,
    on_page: Callable[[int], None] = lambda _: None,
) -> Iterator[ListedBackfill]:
    """List the videos that a backfill with these options would analyse.

    Args:
        settings: of this process, overridden by the options.
        on_page: called after each page with the number of objects listed so far.

    Raises:
        SettingsError and others: as `load_prompt_sets`, `describe_model` and the storage.
    """
    with database.begin() as connection:
        names = kept_meanings(connection, settings.prompt_sets)
        used = used_revisions(connection, settings)
    prompts = load_prompt_sets(names, coverage=settings.min_coverage)
    spec = describe_model(settings, used=used)
    source = open_storage(settings.source, settings)
    source.check()
    admit = ListingFilter(
        suffixes=tuple(suffix.lower() for suffix in settings.suffixes), since=options.since, until=options.until
    )
    listed = 0
    with database.begin() as connection:
        require_rights(connection)
    with listing_table(database, settings.work_dir) as listing:
        place = open_inventory(settings, source=source) if settings.inventory else source
        for page in place.list_pages(page_size=settings.page_size):
            listing.add([item for item in page if admit.admits(item)])
            listed += len(page)
            on_page(listed)
        if not listed:
            raise SettingsError(f"{source.url} lists no objects: expected the prefix of videos; correct it")
        yield ListedBackfill(
            options=options,
            settings=settings,
            spec=spec,
            prompts=prompts,
            source=source,
            listing=listing,
            listed=listed,
            shard_videos=shard_videos,
        )
