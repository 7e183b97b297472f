"""List some pages, claim the next chunk, tell what is left."""

from __future__ import annotations

from nightreel.database.claims import Remaining
from nightreel.orchestration.runtime import bench, task
from nightreel.stages.discover import Claimed, Discovered, claim_chunk, discover_pages, remaining_work


@task("discover")
def discover(run_id: int) -> Discovered:
    return discover_pages(bench(run_id))


@task("claim")
def claim(run_id: int, max_videos: int | None) -> Claimed:
    return claim_chunk(bench(run_id), max_videos=max_videos)


@task("remaining")
def remaining(run_id: int) -> Remaining:
    return remaining_work(bench(run_id))
