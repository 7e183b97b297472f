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
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from nightreel.database import nights
from nightreel.domain.helping import HelperCosts, helpers_worth
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.part_runs import cancel_waiting, read_runs, submit_helper
from nightreel.orchestration.places import read_places
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.orchestration.server_watch import ServerWatch
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.run import Run
from nightreel.stages.summary import RunSummary
from nightreel.units import counted

_LOOK_EVERY_S = 5.0  # how many helpers there are, and how many would be worth their start
_ENDS_WITHIN_S = 120.0  # a helper without work, after the last video
_NO_ANALYSIS = (
    "NIGHTREEL_LISTS_ONLY=true: runs of this host leave the analysis to helpers, and this run has none: let its worker "
    "serve --queue nightly, --queue retries and --queue upkeep only, use `nightreel analyze --helpers N` without "
    "--limit, or unset it"
)

_FAILURES_IN_A_ROW = 3  # of helpers, after which a run that only lists ends

logger = logging.getLogger(__name__)


class Helpers:
    """The helpers of one run.

    Args:
        most: helpers at the same time; 0: the run has none; None: one for each other device that can hold the model.
        pool: where they run.
        do_all: the run itself only lists; it needs at least one helper.
    """

    def __init__(
        self, run: Run, client: SyncPrefectClient, server: ServerWatch, *, most: int | None, pool: str, do_all: bool
    ) -> None:
        self._run, self._client, self._server = run, client, server
        self.do_all = do_all
        self._most, self._pool = most, pool
        self._submitted: list[str] = []
        self._look_at = 0.0
        self._before: HelperCosts | None = None

    def listed(self, summary: RunSummary) -> None:
        """Tell the helpers that the source is listed, so that they wait for no more, and log what is left to do."""
        self._forecast(summary)
        self._look_at = 0.0
        if self._most != 0:
            with self._run.database.begin() as connection:
                nights.mark_listed(connection, self._run.id)

    def consider(self, summary: RunSummary) -> None:
        """Submit as many helpers as are worth their start now. A failure is logged: the run works without them.

        Raises:
            NightreelError: the run cannot work without them.
        """
        if self._most == 0 or time.monotonic() < self._look_at or self._server.silent_s:
            return
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        try:
            if self.do_all:
                self._require_working()
            pending = self._run.discovery.count_remaining().pending
            worth = self._worth(pending, self._costs(summary))
            wanted = min(worth, self._most_now()) if worth else 0
            for _ in range(wanted - self._active()):
                self._submit()
        except NightreelError as error:
            if self.do_all:
                raise
            logger.warning("no helper was submitted: %s", error)
            self._most = 0

    def _forecast(self, summary: RunSummary) -> None:
        """How long the backlog takes with the devices at hand, as far as costs were measured."""
        pending = self._run.discovery.count_remaining().pending
        video_s = self._costs(summary).video_s if pending else None
        if video_s is None:
            return
        try:
            devices = self._most_now() + (not self.do_all)
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

    def at_work(self) -> bool:
        """Whether a helper runs now."""
        if not self._submitted:
            return False
        with self._run.database.begin() as connection:
            return nights.has_helpers_at_work(connection, self._run.id)

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
        places = read_places(self._client, self._run.discovery.model.request)
        return max(1, places) if self.do_all else max(0, places - 1)

    def _require_working(self) -> None:
        """Raises PermanentError `helpers_failed`: the last ones that were submitted all failed."""
        last = self._submitted[-_FAILURES_IN_A_ROW:]
        states = [one.state for one in read_runs(self._client, last).values() if one.state is not None]
        failed = [state for state in states if state.type in (StateType.FAILED, StateType.CRASHED)]
        if len(failed) == _FAILURES_IN_A_ROW:
            raise PermanentError(
                Reason.HELPERS_FAILED,
                f"the last {len(failed)} helpers of run {self._run.id} failed; one of them: {failed[-1].message}",
            )

    def _worth(self, pending: int, costs: HelperCosts) -> int:
        if not self.do_all:
            return helpers_worth(pending, costs)
        if costs.video_s is None:
            return pending
        return min(pending, 1 + helpers_worth(pending, costs))

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
    """The helpers of a run. Those that have not started at the end of the block are cancelled.

    A run with a limit has none: they would not know it.

    Raises:
        SettingsError: this host only lists, and the run can have no helper.
    """
    most: int | None = 0
    pool = settings.work_pool
    if not (options.night or options.shard):
        own_pool = _own_pool(client)
        most, pool = _most(options.helpers, settings, is_deployed=own_pool is not None), own_pool or pool
    if settings.lists_only and (most == 0 or options.limit):
        raise SettingsError(_NO_ANALYSIS)
    helpers = Helpers(run, client, server, most=0 if options.limit else most, pool=pool, do_all=settings.lists_only)
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
