"""The helpers of a run: it submits them as its backlog grows, waits for them, and takes over what they did.

A helper is a run of `analyze_videos` with `options: {night: ID}`, on another device of the pool. It claims from the
same backlog. If the night's own run is killed, its helpers go on with what it has listed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run

from nightreel.database import nights
from nightreel.database.nights import Helper
from nightreel.domain.helping import HelperCosts, helpers_worth
from nightreel.errors import NightreelError
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.part_runs import cancel_waiting, read_runs, submit_helper
from nightreel.orchestration.places import read_places
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.orchestration.server_watch import ServerWatch
from nightreel.settings import Settings
from nightreel.stages.run import Run
from nightreel.stages.summary import RunSummary
from nightreel.units import counted

_LOOK_EVERY_S = 5.0  # how many helpers there are, and how many would be worth their start
_ENDS_WITHIN_S = 120.0  # a helper without work, after the last video

logger = logging.getLogger(__name__)


class Helpers:
    """The helpers of one run.

    Args:
        most: helpers at the same time; 0: the run has none; None: one for each other device that can hold the model.
        pool: where they run.
    """

    def __init__(
        self, run: Run, client: SyncPrefectClient, server: ServerWatch, *, most: int | None, pool: str
    ) -> None:
        self._run, self._client, self._server = run, client, server
        self._most, self._pool = most, pool
        self._submitted: list[str] = []
        self._look_at = 0.0
        self._before: HelperCosts | None = None

    def listed(self, summary: RunSummary) -> None:
        """Tell the helpers that the source is listed, so that they wait for no more, and log what is left to do."""
        self._forecast(summary)
        if self._most != 0:
            with self._run.database.begin() as connection:
                nights.mark_listed(connection, self._run.id)

    def consider(self, summary: RunSummary) -> None:
        """Submit as many helpers as are worth their start now. A failure is logged: the run works without them."""
        if self._most == 0 or time.monotonic() < self._look_at or self._server.silent_s:
            return
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        try:
            pending = self._run.discovery.count_remaining().pending
            worth = helpers_worth(pending, self._costs(summary))
            wanted = min(worth, self._most_now()) if worth else 0
            for _ in range(wanted - self._active()):
                self._submit()
        except NightreelError as error:
            logger.warning("no helper was submitted: %s", error)
            self._most = 0

    def _forecast(self, summary: RunSummary) -> None:
        """How long the backlog takes with the devices at hand, as far as costs were measured."""
        pending = self._run.discovery.count_remaining().pending
        video_s = self._costs(summary).video_s if pending else None
        if video_s is None:
            return
        try:
            devices = self._most_now() + 1
        except NightreelError as error:
            logger.warning("it is not known how long the run will take: %s", error)
            return
        takes = timedelta(seconds=round(pending * video_s / devices))
        at = self._run.discovery.deadline.at
        told = f"{counted(pending, 'video')} to analyse: about {takes} on {counted(devices, 'device')}"
        if at is not None and datetime.now(UTC) + takes > at:
            logger.warning("%s, but all must be done by %s: what is left waits for the next run", told, at)
        else:
            logger.info("%s", told)

    def at_work(self) -> list[Helper]:
        """The helpers that run now."""
        if not self._submitted:
            return []
        with self._run.database.begin() as connection:
            return [helper for helper in nights.helpers_of(connection, self._run.id) if helper.is_alive]

    def finish(self, summary: RunSummary) -> None:
        """Cancel the helpers that have not started, wait for the others, and add what they did to the summary."""
        if not self._submitted:
            return
        self.cancel_waiting("the run that it should help has ended")
        until = time.monotonic() + _ENDS_WITHIN_S
        while self.at_work() and time.monotonic() < until:
            time.sleep(0.5)
        with self._run.database.begin() as connection:
            for helper in nights.helpers_of(connection, self._run.id):
                summary.add_helper(helper)
            summary.tally.show(nights.failures_of(connection, self._run.id))

    def cancel_waiting(self, why: str) -> None:
        if self._submitted and not self._server.silent_s:
            try:
                cancel_waiting(self._client, self._submitted, why=why)
            except NightreelError as error:
                logger.warning("helpers that wait for a worker stay: %s", error)

    def _most_now(self) -> int:
        """Workers may have started since, and the check of the model tells which devices can hold it."""
        if self._most is not None:
            return self._most
        return max(0, read_places(self._client, self._run.discovery.model.request) - 1)

    def _active(self) -> int:
        flow_runs = read_runs(self._client, self._submitted)
        return sum(one.state is not None and not one.state.is_final() for one in flow_runs.values())

    def _costs(self, summary: RunSummary) -> HelperCosts:
        """What a video and a start cost: as measured in this run, else in the last one that worked alone."""
        ended = summary.succeeded + summary.failed
        if ended:
            return HelperCosts.of(self._run.recorder.report()[1], videos=ended)
        if self._before is None:
            with self._run.database.begin() as connection:
                timings, videos = nights.measured_before(connection, self._run.id)
            self._before = HelperCosts.of(timings, videos=videos)
        return self._before

    def _submit(self) -> None:
        number = len(self._submitted) + 1
        flow_run_id = submit_helper(self._pool, night_id=self._run.id, night_name=self._run.name, number=number)
        self._submitted.append(flow_run_id)
        logger.info("helper %d submitted to work pool %s", number, self._pool)


@contextmanager
def open_helpers(
    run: Run, client: SyncPrefectClient, options: AnalyzeOptions, settings: Settings, server: ServerWatch
) -> Iterator[Helpers]:
    """The helpers of a run. Those that have not started at the end of the block are cancelled."""
    most: int | None = 0
    pool = settings.work_pool
    if not (options.night or options.shard):
        own_pool = _own_pool(client)
        most, pool = _most(options.helpers, settings, is_deployed=own_pool is not None), own_pool or pool
    helpers = Helpers(run, client, server, most=most, pool=pool)
    try:
        yield helpers
    finally:
        helpers.cancel_waiting("the run that it should help has ended")


def _own_pool(client: SyncPrefectClient) -> str | None:
    """The work pool of this flow run, or of the one that it is a part of; None if a command runs it."""
    if not (own := flow_run.get_id()):
        return None
    with prefect_errors():
        run = client.read_flow_run(UUID(own))
        if run.work_pool_name is None and run.parent_task_run_id is not None:
            parent = client.read_task_run(run.parent_task_run_id).flow_run_id
            run = client.read_flow_run(parent) if parent else run
    return run.work_pool_name


def _most(asked: int | None, settings: Settings, *, is_deployed: bool) -> int | None:
    if asked is not None:
        return asked
    if not is_deployed:
        return 0
    return settings.helpers
