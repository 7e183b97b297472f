"""The flow of a night, and of each shard of a backfill: list, claim, encode, ask, write, until nothing is left.

`nightreel.domain.run_health` decides whether the run stops and whether it is red. A failed video is a row in Postgres.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.map_chunks import map_chunks
from nightreel.domain import Claim
from nightreel.errors import NightreelError
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.helpers import Helpers
from nightreel.orchestration.lost_server import publish
from nightreel.orchestration.run_names import name_of_analysis
from nightreel.orchestration.runs import helpers_of, is_needed, open_run, open_run_of, server_of, show_progress
from nightreel.orchestration.server_watch import ServerWatch
from nightreel.stages.run_report import run_report
from nightreel.stages.summary import RunSummary
from tasks.backfill import submit_shards
from tasks.discover import claim, discover, remaining
from tasks.evict import make_room

_LONGEST_WAIT_S = 120.0  # for a retry that is not due yet; the next run takes later ones
_LOOK_EVERY_S = 1.0  # whether the run must stop while it waits
_LOOK_AT_OTHERS_EVERY_S = 5.0  # what they have done and given back; each look is a task run
_LONGEST_IDLE_S = 60.0  # of a helper whose night lists and finds nothing new
_ARTIFACT_EVERY_S = 5.0
_THREADS: Any = ThreadPoolTaskRunner(max_workers=64)


@flow(name="analyze-videos", flow_run_name=name_of_analysis, task_runner=_THREADS, persist_result=False)
def analyze_videos(options: AnalyzeOptions = AnalyzeOptions()) -> State:  # noqa: B008 - frozen
    """Analyse the videos of a source that have no answers yet."""
    if options.night and not is_needed(options.night):
        return Completed(message=f"run {options.night} needs no more help")
    with open_run(options) as run:
        summary, server, helpers = run.summary(RunSummary), server_of(run.id), helpers_of(run.id)
        get_run_logger().info("run %d, %s: %s with %s", run.id, run.name, run.source, run.model)
        progress = _ProgressArtifact(summary, server)
        for counts in map_chunks(run.id, _Backlog(options, summary, server, helpers), in_flight=run.chunks_in_flight):
            summary.add(counts)
            show_progress(summary)
            progress.update()
        make_room(run.id)
        helpers.finish(summary)
        run.finish(summary)
        progress.finish()
        publish(server, run_report(summary), key="analyze-videos", description=summary.headline)
        show_progress(summary)
        get_run_logger().info("run %d: %s", run.id, summary.headline)
    red, headline = summary.health.red, summary.headline
    if options.shard and not server.is_gone:
        _submit_next_shards()
    if red is None:
        return Completed(message=headline)
    return Failed(message=headline if red in headline else f"{red}: {headline}")


def _submit_next_shards() -> None:
    """Submit the next shards now. If that fails, the next run of the flow `backfill_videos` submits them."""
    try:
        get_run_logger().info("%s", submit_shards(linked=False))
    except NightreelError as error:
        get_run_logger().warning("no shard was submitted, the flow backfill-videos will try again: %s", error)


class _Backlog:
    """The chunks of a run. `next` claims a chunk; it lists pages when nothing can be claimed. Suspects come last.

    Args:
        summary: of the run. The backlog adds the counts of the listing and the facts for which the run stops early.
    """

    def __init__(self, options: AnalyzeOptions, summary: RunSummary, server: ServerWatch, helpers: Helpers) -> None:
        self._options = options
        self._summary = summary
        self._server = server
        self._helpers = helpers
        self._idle_since: float | None = None
        self._ready: deque[list[Claim]] = deque()  # these start before new work is claimed
        self._started: set[int] = set()  # analyses that count against options.limit
        self._exhausted = not options.listing or options.night is not None
        if self._exhausted:
            helpers.listed(summary)

    def next(self, *, busy: bool) -> list[Claim] | None:
        summary = self._summary
        while not self._stopped():
            left = self._left()
            if self._helpers.do_all:
                summary.make_room = open_run_of(summary.run_id).discovery.why_stop()
            elif not self._ready and left != 0:
                claimed = claim(summary.run_id, left, self._exhausted and not busy)
                summary.make_room = claimed.stop
                if claimed.claims:
                    self._ready.append(claimed.claims)
            self._helpers.consider(summary)
            if self._ready:
                self._idle_since = None
                claims = self._ready.popleft()
                if self._options.limit:
                    self._started.update(item.analysis_id for item in claims)
                return claims
            if self._exhausted or summary.stopped or left == 0:
                return None
            found = discover(summary.run_id)
            summary.listing += found.counts
            self._exhausted = found.exhausted
            if found.exhausted:
                self._helpers.listed(summary)
            show_progress(summary)
        return None

    def put_first(self, chunks: list[list[Claim]]) -> None:
        self._ready.extend(chunks)

    def wait(self) -> bool:
        """Wait for a retry that is due soon, for what helpers may give back, or for what the night may still find."""
        if self._stopped():
            return False
        rest = remaining(self._summary.run_id)
        self._summary.elsewhere = rest.elsewhere
        if self._left() == 0:
            return False
        due_soon = rest.next_in_s is not None and rest.next_in_s <= _LONGEST_WAIT_S
        if due_soon and not self._helpers.do_all:
            self._sleep(max(0.05, rest.next_in_s or 0.0))
            return True
        if not due_soon and not (rest.elsewhere and self._helpers.at_work()) and not self._night_may_grow():
            return False
        self._sleep(_LOOK_AT_OTHERS_EVERY_S)
        return True

    def _night_may_grow(self) -> bool:
        """Whether this run helps a night that still lists. It does not hold its device for long without work."""
        helper = open_run_of(self._summary.run_id).helper
        if helper is None or not helper.backlog_may_grow():
            return False
        self._idle_since = self._idle_since or time.monotonic()
        return time.monotonic() - self._idle_since < _LONGEST_IDLE_S

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0 and not self._stopped():
            time.sleep(min(_LOOK_EVERY_S, left_s))

    def _stopped(self) -> bool:
        self._summary.server_silent_s = self._server.silent_s
        return self._summary.stopped is not None

    def _left(self) -> int | None:
        """How many more videos may start; None: any number."""
        return None if self._options.limit is None else self._options.limit - len(self._started)


class _ProgressArtifact:
    """The progress bar of a run in Prefect's UI, updated every few seconds."""

    def __init__(self, summary: RunSummary, server: ServerWatch) -> None:
        self._summary, self._server = summary, server
        key, what = f"run-{summary.run_id}", "share of the videos found that are finished"
        self._id: UUID | None = None
        with server.informing("the progress"):
            self._id = cast(UUID, create_progress_artifact(0.0, key=key, description=what))
        self._due = 0.0

    def update(self) -> None:
        if time.monotonic() > self._due:
            finished = self._summary.succeeded + self._summary.failed
            self._send(min(99.0, 100.0 * finished / max(1, self._summary.listing.added)))
            self._due = time.monotonic() + _ARTIFACT_EVERY_S

    def finish(self) -> None:
        self._send(100.0)

    def _send(self, percent: float) -> None:
        if self._id and not self._server.silent_s:
            with self._server.informing("the progress"):
                update_progress_artifact(self._id, percent)
