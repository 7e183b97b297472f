"""Removes from Prefect what names erased videos: flow runs with their parameters, logs, task runs and artifacts.

`nightreel erase` calls it. Prefect deletes no single log, so the whole flow run goes. Its row in Postgres stays. No
call deletes events, which Prefect keeps for some days.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort, LogSort

from nightreel.orchestration.client import prefect_client
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.orchestration.tidying import delete_artifacts, delete_flow_run
from nightreel.services import open_services
from nightreel.settings import Settings
from nightreel.stages.erase import Forget
from nightreel.stages.erase_target import Mention
from nightreel.stages.run_report import names_in_reports

_PAGE = 200


def forget(client: SyncPrefectClient, mention: Mention) -> Mapping[str, int]:
    """Delete the flow runs that name these videos.

    Returns:
        Counts: `flow_runs` and `artifacts` deleted; `running`: flow runs that have not ended, and stay for now.

    Raises:
        NightreelError: like `prefect_errors`.
    """
    with prefect_errors():
        named = (
            set(_in_flow_runs(client, mention)) | set(_in_artifacts(client, mention)) | set(_in_logs(client, mention))
        )
        counts = {"flow_runs": 0, "artifacts": 0, "running": 0}
        for flow_run in _read(client, named):
            if flow_run.state is not None and not flow_run.state.is_final():
                counts["running"] += 1
                continue
            counts["artifacts"] += delete_artifacts(client, flow_run.id)
            delete_flow_run(client, flow_run.id)
            counts["flow_runs"] += 1
    return counts


def forget_in_prefect(settings: Settings) -> Forget:
    """`forget` with the Prefect server of these settings. Where nothing ever ran, there is nothing to forget."""

    def forget_there(mention: Mention) -> Mapping[str, int]:
        if settings.prefect_api_url is None and not (settings.work_dir / "prefect").is_dir():
            return {}
        with open_services(settings, postgres=False) as endpoints:
            assert endpoints.prefect, "it was asked for"
            with prefect_client(endpoints.prefect) as client:
                return forget(client, mention)

    return forget_there


def _in_flow_runs(client: SyncPrefectClient, mention: Mention) -> Iterator[UUID]:
    """In parameters, or in the message with which a run or one of its tasks ended."""
    offset = 0
    while page := client.read_flow_runs(sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=offset):
        for flow_run in page:
            message = flow_run.state.message if flow_run.state else None
            if _names(mention, str(flow_run.parameters), message or ""):
                yield flow_run.id
        offset += len(page)
    offset = 0
    while tasks := client.read_task_runs(limit=_PAGE, offset=offset):
        for task_run in tasks:
            message = task_run.state.message if task_run.state else None
            if task_run.flow_run_id and _names(mention, message or ""):
                yield task_run.flow_run_id
        offset += len(tasks)


def _in_artifacts(client: SyncPrefectClient, mention: Mention) -> Iterator[UUID]:
    shown = {name for uri in mention.uris for name in names_in_reports(uri)}
    offset = 0
    while page := client.read_artifacts(limit=_PAGE, offset=offset):
        for artifact in page:
            said = f"{artifact.data} {artifact.description}"
            if artifact.flow_run_id and (_names(mention, said) or any(name in said for name in shown)):
                yield artifact.flow_run_id
        offset += len(page)


def _in_logs(client: SyncPrefectClient, mention: Mention) -> Iterator[UUID]:
    """All records are read: a server that is not Prefect Cloud answers a search with status 500."""
    offset = 0
    while page := client.read_logs(limit=_PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC):
        for log in page:
            if log.flow_run_id and _names(mention, log.message):
                yield log.flow_run_id
        offset += len(page)


def _names(mention: Mention, *texts: str) -> bool:
    """Whether a text has a key or a hash, as it is or as Python or JSON write it in quotes."""
    needles = (*mention.uris, *mention.contents)
    written = {form for needle in needles for form in (needle, repr(needle)[1:-1], json.dumps(needle)[1:-1])}
    return any(form in text for text in texts for form in written)


def _read(client: SyncPrefectClient, ids: Iterable[UUID]) -> Iterator[FlowRun]:
    ordered: list[Any] = sorted(ids)
    for start in range(0, len(ordered), _PAGE):
        these = FlowRunFilter(id=FlowRunFilterId(any_=ordered[start : start + _PAGE]))
        yield from client.read_flow_runs(flow_run_filter=these, limit=_PAGE)
