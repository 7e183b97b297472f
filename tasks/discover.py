"""List some pages, claim the next chunk, report what is left."""

from __future__ import annotations

from nightreel.database.claims import Remaining
from nightreel.orchestration.runs import open_run_of
from nightreel.orchestration.task import task
from nightreel.stages.discover import Claimed, Discovered


@task("discover")
def discover(run_id: int) -> Discovered:
    return open_run_of(run_id).discovery.discover_pages()


@task("claim")
def claim(run_id: int, max_videos: int | None, suspects: bool) -> Claimed:
    return open_run_of(run_id).discovery.claim_chunk(max_videos=max_videos, suspects=suspects)


@task("remaining")
def remaining(run_id: int) -> Remaining:
    return open_run_of(run_id).discovery.remaining_work()
