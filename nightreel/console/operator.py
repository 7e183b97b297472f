"""Operator: the last night at a glance, failures, runs, backfills and coverage.

The console asks for a retry or a change of a backfill; a process of the worker's role carries it out.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from nightreel.api.bodies import Body
from nightreel.console.access import AsLead
from nightreel.console.problems import sent_to
from nightreel.console.rendering import render
from nightreel.database import reports
from nightreel.database.requests import add_request, list_requests
from nightreel.database.runs import PastRun, read_last_night, read_run_before
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Filter
from nightreel.domain.requests import ChangeBackfill, RequestKind, RetryFailures
from nightreel.errors import PermanentError
from nightreel.services import prefect_api
from nightreel.settings import Settings
from nightreel.stages.run_changes import changes_since

OPERATOR = "/operator"
_RUNS = 20
_FAILURES = 50
_BACKFILLS = 20
_COVERAGE = 100
_REQUESTS = 10
_OF_THE_RUN = ("total", "overlap", "overhead", "lease")


class RetryForm(Body):
    """The reason of the failures to retry; none: all."""

    reason: str = Field("", max_length=100)


class BackfillForm(Body):
    """What to do with a backfill."""

    backfill: int = Field(ge=1, le=2**63 - 1)
    action: Literal["pause", "resume"]


def add_operator(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(OPERATOR, _overview, methods=["GET"])
    router.add_api_route(f"{OPERATOR}/coverage", _coverage, methods=["GET"])
    router.add_api_route(f"{OPERATOR}/retry", _retry, methods=["POST"])
    router.add_api_route(f"{OPERATOR}/backfills", _change_backfill, methods=["POST"])


def _overview(request: Request, visitor: AsLead) -> Response:
    with visitor.reading() as connection:
        night = read_last_night(connection)
        before = read_run_before(connection, night.run_id) if night else None
        reasons = reports.failure_reasons(connection)
        failures = [
            row
            for row in reports.failures(connection, limit=_FAILURES)
            if visitor.user.restricted or not row["restricted"]
        ]
        runs = reports.runs(connection, limit=_RUNS)
        backfills = read_page(connection, PageQuery(view="backfills", limit=_BACKFILLS, restricted=False))
        requests = list_requests(connection, limit=_REQUESTS, kinds=(RequestKind.RETRY, RequestKind.BACKFILL))
    names = [column.name for column in backfills.columns]
    return render(
        request,
        "operator.html",
        night=night,
        slowest=slowest_stage(night) if night else None,
        changed=changes_since(night, before) if night and before else [],
        before=before,
        reasons=reasons,
        failures=failures,
        runs=runs,
        prefect=prefect_ui(visitor.service.settings),
        backfills=[dict(zip(names, row, strict=True)) for row in backfills.rows],
        requests=requests,
    )


def slowest_stage(run: PastRun) -> tuple[str, float] | None:
    """The stage that was busy the longest, and its seconds."""
    timings: dict[str, float] = run.counts.get("timings") or {}
    stages = {name: seconds for name, seconds in timings.items() if name not in _OF_THE_RUN}
    return max(stages.items(), key=lambda stage: stage[1], default=None)


def prefect_ui(settings: Settings) -> str | None:
    """The address of Prefect's UI; None: no server is configured or can be used, and the embedded one does not run."""
    try:
        api = prefect_api(settings)
    except PermanentError:
        return None
    return api.url.rstrip("/").removesuffix("/api") if api else None


def _coverage(request: Request, visitor: AsLead) -> Response:
    """What was not asked of all videos: the part of the page that takes the longest."""
    query = PageQuery(view="coverage", filters=(Filter("not_asked", ">", "0"),), limit=_COVERAGE, restricted=False)
    with visitor.reading() as connection:
        found = read_page(connection, query)
    names = [column.name for column in found.columns]
    rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in found.rows]
    return render(request, "_operator_coverage.html", rows=rows, most=_COVERAGE)


def _retry(request: Request, visitor: AsLead) -> Response:
    reason = visitor.form.read(RetryForm).reason
    with visitor.writing() as connection:
        add_request(connection, visitor.user, RetryFailures(reason=reason or None))
    return sent_to(request, OPERATOR)


def _change_backfill(request: Request, visitor: AsLead) -> Response:
    given = visitor.form.read(BackfillForm)
    with visitor.writing() as connection:
        add_request(connection, visitor.user, ChangeBackfill(backfill_id=given.backfill, action=given.action))
    return sent_to(request, OPERATOR)
