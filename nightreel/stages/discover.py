"""Discover: some pages of the listing into Postgres, and the next chunk of work out of it."""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.database.claims import Remaining, remaining
from nightreel.database.discovery import PageCounts, discover_page
from nightreel.database.runs import recover_dead_runs
from nightreel.domain import Claim
from nightreel.errors import NightreelError
from nightreel.stages.workbench import Workbench

_PAGES = 20  # listed at most before the caller hears of it: some seconds of work


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What some pages held, and whether they were the last."""

    counts: PageCounts
    exhausted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A chunk's worth of work, or why none is to be taken any more."""

    claims: list[Claim]
    stop: str | None = None


def discover_pages(bench: Workbench) -> Discovered:
    """Go on with the listing until a chunk's worth of new work was found, or for some pages.

    After an error the listing goes on, at the next call, behind the last page that was written.
    """
    up_to_uri = bench.selection.up_to_uri
    counts = PageCounts()
    for _ in range(_PAGES):
        try:
            with bench.timings.stage("list"):
                page = next(bench.listing, None)
            if page is None:
                return Discovered(counts=counts, exhausted=True)
            within = [item for item in page if up_to_uri is None or item.uri <= up_to_uri]
            with bench.timings.stage("database"), bench.database.begin() as connection:
                counts += discover_page(
                    connection,
                    within,
                    admit=bench.admit,
                    recipe_id=bench.recipe.id,
                    run_id=bench.run_id,
                    as_of=bench.listed_as_of,
                )
        except NightreelError:
            bench.restart_listing()
            raise
        bench.last_listed = page[-1].uri
        if len(within) < len(page):
            return Discovered(counts=counts, exhausted=True)
        if counts.added >= bench.settings.chunk_segments:
            break
    return Discovered(counts=counts, exhausted=False)


def claim_chunk(bench: Workbench, *, max_videos: int | None) -> Claimed:
    """Claim what the next chunk is made of, unless the run is to end."""
    if stop := bench.why_stop():
        return Claimed(claims=[], stop=stop)
    with bench.timings.stage("database"), bench.database.begin() as connection:
        claims = bench.claims.next(connection, max_videos)
    return Claimed(claims=claims)


def remaining_work(bench: Workbench) -> Remaining:
    """What is not finished, after claims were taken back from runs that died in the meantime."""
    recover_dead_runs(bench.database, max_attempts=bench.settings.max_attempts)
    with bench.database.begin() as connection:
        return remaining(connection, recipe=bench.recipe, run_id=bench.run_id, selection=bench.selection)
