"""The flow that a night runs, and each shard of a backfill: list, claim, encode, ask, write, until nothing is left.

A bounded window of chunks is between claim and commit at any time. Encoding the next chunk overlaps asking the one
before, and memory stays flat whatever the number of videos. The run fails only when it broke itself; what is wrong with
a video is a row in Postgres.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, cast
from uuid import UUID

from prefect import allow_failure, flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from nightreel.domain import Claim
from nightreel.errors import NightreelError
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.runtime import OpenRun, open_run, progress_listener
from nightreel.stages.summary import RunSummary
from tasks.ask import ask
from tasks.backfill import submit_shards
from tasks.discover import claim, discover, remaining
from tasks.encode import encode
from tasks.evict import make_room
from tasks.write import close_failed, write

_LONGEST_WAIT_S = 120.0  # for a retry that is not due yet; later ones are left to the next run
_ARTIFACT_EVERY_S = 5.0

Stages = tuple[PrefectFuture, PrefectFuture, PrefectFuture]
_THREADS: Any = ThreadPoolTaskRunner(max_workers=64)


@flow(name="analyze-videos", task_runner=_THREADS, persist_result=False)
def analyze_videos(options: AnalyzeOptions = AnalyzeOptions()) -> State:  # noqa: B008 - frozen
    """Analyse the videos of a source that have no answers yet."""
    with open_run(options) as run:
        summary = RunSummary(run_id=run.id, source=run.source, model=run.model)
        get_run_logger().info("run %d: %s with %s", run.id, run.source, run.model)
        key, what = f"run-{run.id}", "videos finished of those found"
        progress = cast(UUID, create_progress_artifact(0.0, key=key, description=what))
        _work(run, options, summary, progress)
        make_room(run.id)
        summary.work, summary.timings = run.report()
        run.finish(summary)
        update_progress_artifact(progress, 100.0)
        create_markdown_artifact(summary.markdown(), key="analyze-videos", description=summary.headline)
        _tell(summary)
        get_run_logger().info("run %d: %s", run.id, summary.headline)
    if options.shard:
        _hand_on()
    if summary.is_green:
        return Completed(message=summary.headline)
    return Failed(message=f"every video failed: {summary.headline}")


def _hand_on() -> None:
    """Let the next shards follow at once; where that fails, the flow `backfill_videos` does it a little later."""
    try:
        get_run_logger().info("%s", submit_shards(linked=False))
    except NightreelError as error:
        get_run_logger().warning("no shard was submitted: %s", error)


def _work(run: OpenRun, options: AnalyzeOptions, summary: RunSummary, progress: UUID) -> None:
    """Keep the window full until listing, claims and retries are at their end."""
    ready: deque[list[Claim]] = deque()  # chunks to go on with before new work is claimed
    window: deque[tuple[list[Claim], Stages]] = deque()
    started: set[int] = set()  # videos that count against options.limit
    exhausted = not options.listing
    artifact_due = 0.0
    while True:
        if len(window) < run.chunks_in_flight and not summary.stopped:
            if not ready and (left := _left(options, started)) != 0:
                claimed = claim(run.id, left)
                summary.stopped = claimed.stop
                ready.extend([claimed.claims] if claimed.claims else [])
            if ready:
                claims = ready.popleft()
                started.update(item.analysis_id for item in claims if options.limit)
                window.append((claims, _start(run.id, claims, after=window[-1][1] if window else None)))
                ready.extend([rest] for rest in _rest(window[-1][1]))
                continue
            if not exhausted and not summary.stopped and _left(options, started) != 0:
                found = discover(run.id)
                summary.listing += found.counts
                exhausted = found.exhausted
                _tell(summary)
                continue
        if window:
            counts, again = _settle(run.id, *window.popleft())
            ready.extend(again)
            summary.add(counts)
            _tell(summary)
            if time.monotonic() > artifact_due:
                share = 100.0 * (summary.succeeded + summary.failed) / max(1, summary.listing.added)
                update_progress_artifact(progress, min(99.0, share))
                artifact_due = time.monotonic() + _ARTIFACT_EVERY_S
            continue
        if summary.stopped:
            return
        rest = remaining(run.id)
        summary.elsewhere = rest.elsewhere
        if rest.next_in_s is None or rest.next_in_s > _LONGEST_WAIT_S or _left(options, started) == 0:
            return
        time.sleep(max(0.05, rest.next_in_s))


def _left(options: AnalyzeOptions, started: set[int]) -> int | None:
    return None if options.limit is None else options.limit - len(started)


def _start(run_id: int, claims: list[Claim], *, after: Stages | None) -> Stages:
    """Submit a chunk's stages. Chunks are written in order, so that a long video is not closed before its middle."""
    encoded: Any = encode.submit(run_id, claims)  # futures stand for their values, which Prefect's types do not say
    answered: Any = ask.submit(run_id, encoded)
    before = [allow_failure(after[2])] if after else None
    written = write.submit(run_id, claims, encoded, answered, wait_for=before, return_state=False)
    return encoded, answered, written


def _rest(stages: Stages) -> tuple[Claim, ...]:
    """Wait until a chunk is encoded (while the one before is asked): what of its videos is left for another chunk."""
    encoded = stages[0]
    encoded.wait()
    return encoded.result().rest if encoded.state.is_completed() else ()


def _settle(run_id: int, claims: list[Claim], stages: Stages) -> tuple[dict[str, int], list[list[Claim]]]:
    """Wait for a chunk: its counts, and chunks to be tried in its place.

    Raises:
        NightreelError: what broke the chunk would break any other: database, cache, model.
    """
    for stage in stages:
        stage.wait()
    broken = next((stage.state for stage in stages if not stage.state.is_completed()), None)
    if broken is None:
        return stages[2].result(), []
    error = broken.result(raise_on_failure=False)
    if isinstance(error, NightreelError):
        raise error
    get_run_logger().error("a chunk of %d videos broke: %r", len(claims), error)
    if len(claims) > 1:  # each on its own, to find the one that breaks it
        return {}, [[item] for item in claims]
    return close_failed(run_id, claims, "internal_error", f"{type(error).__name__}: {error}", False), []


def _tell(summary: RunSummary) -> None:
    listener = progress_listener.get()
    if listener:
        listener(summary)
