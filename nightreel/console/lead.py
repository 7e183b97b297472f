"""Lead: what waits and how much is decided, disagreements, and thresholds with what a change of them would do.

A new threshold comes into force when a process of the worker's role carries the request out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from nightreel.api.bodies import Body
from nightreel.api.problems import Problem
from nightreel.console.access import AsLead, Visitor
from nightreel.console.fields import query_of
from nightreel.console.plots import HEIGHT, MARGIN, WIDTH, calibration_plot
from nightreel.console.problems import sent_to
from nightreel.console.rendering import reader_of, render
from nightreel.database.requests import add_request, list_requests
from nightreel.domain import Band, PromptSet
from nightreel.domain.requests import MoveThreshold, RequestKind, moved
from nightreel.review import showing
from nightreel.review.agreement import ReviewerAccuracy, read_accuracy, read_agreement
from nightreel.review.auditing import read_audits
from nightreel.review.calibrating import calibratable, read_calibration
from nightreel.review.disagreeing import list_disagreements
from nightreel.review.pace import read_pace
from nightreel.stages.changed_flags import changed_flags
from nightreel.stages.preview import preview
from nightreel.statistics.intervals import Interval, share

LEAD = "/lead"
_DAYS = 14
_REQUESTS = 10
PromptId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class ThresholdForm(Body):
    """A threshold and the doubt around it; none: those in force."""

    threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    doubt: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)


class ApplyForm(Body):
    """A threshold to bring into force. `policy`: the one in force when the preview was made."""

    threshold: float = Field(ge=0, le=1, allow_inf_nan=False)
    doubt: float = Field(ge=0, le=1, allow_inf_nan=False)
    policy: int = Field(ge=1, le=2**63 - 1)


def add_lead(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(LEAD, _overview, methods=["GET"])
    router.add_api_route(f"{LEAD}/disagreements", _disagreements, methods=["GET"])
    router.add_api_route(f"{LEAD}/prompts/{{prompt_id}}", _prompt, methods=["GET"])
    router.add_api_route(f"{LEAD}/prompts/{{prompt_id}}/preview", _preview, methods=["GET"])
    router.add_api_route(f"{LEAD}/prompts/{{prompt_id}}/threshold", _apply, methods=["POST"])


def _overview(request: Request, visitor: AsLead) -> Response:
    with visitor.reading() as connection:
        queues = showing.show_queues(connection, visitor.user)
        pace = read_pace(connection, visitor.user, days=_DAYS, time_zone=reader_of(request).time_zone)
        prompts = calibratable(connection)
        waiting = len(list_disagreements(connection, visitor.user))
        agreement = read_agreement(connection)
        golden = accuracy_of_prompts(read_accuracy(connection))
        audits = read_audits(connection)
        requests = list_requests(connection, limit=_REQUESTS, kinds=(RequestKind.POLICY,))
    return render(
        request,
        "lead.html",
        queues=queues,
        pace=pace,
        prompts=prompts,
        waiting=waiting,
        agreement=agreement,
        golden=golden,
        audits=audits,
        requests=requests,
        days=_DAYS,
    )


def accuracy_of_prompts(found: Sequence[ReviewerAccuracy]) -> dict[tuple[str, str], Interval]:
    """How often people are right about the golden items of each prompt: of all together, so that nobody is ranked."""
    right: Counter[tuple[str, str]] = Counter()
    judged: Counter[tuple[str, str]] = Counter()
    for one in found:
        right[one.prompt_set, one.prompt] += one.correct
        judged[one.prompt_set, one.prompt] += one.judged
    return {name: share(right[name], count) for name, count in judged.items() if count}


def _disagreements(request: Request, visitor: AsLead) -> Response:
    with visitor.reading() as connection:
        found = list_disagreements(connection, visitor.user)
    return render(request, "lead_disagreements.html", found=found)


def _prompt(request: Request, visitor: AsLead, prompt_id: PromptId) -> Response:
    return _shown(request, visitor, prompt_id, "lead_prompt.html")


def _preview(request: Request, visitor: AsLead, prompt_id: PromptId) -> Response:
    """The plot, and what the threshold of the address would change."""
    return _shown(request, visitor, prompt_id, "_lead_preview.html")


def _shown(request: Request, visitor: Visitor, prompt_id: int, template: str) -> Response:
    given = query_of(request).read(ThresholdForm)
    with visitor.reading() as connection:
        prompt = calibratable(connection).get(prompt_id)
        if prompt is None:
            raise Problem(404, f"there is no prompt {prompt_id} that a threshold decides")
        found = read_calibration(connection, visitor.user, prompt_id, prompt)
        requests = list_requests(connection, limit=_REQUESTS, kinds=(RequestKind.POLICY,))
    now = prompt.policy.band
    threshold = round((now.no_below + now.yes_from) / 2, 9) if given.threshold is None else given.threshold
    doubt = round(now.yes_from - now.no_below, 9) if given.doubt is None else given.doubt
    band = Band.around(threshold, doubt)
    changed = replace(prompt, policy=moved(prompt.policy, threshold, doubt))
    prompts = PromptSet(changed.set_name, (changed,))
    (would,) = preview(visitor.service.database, prompts, restricted=visitor.user.restricted)
    return render(
        request,
        template,
        found=found,
        threshold=threshold,
        doubt=doubt,
        would=would,
        changes=changed_flags(would),
        plot=calibration_plot(found, no_below=band.no_below, yes_from=band.yes_from),
        size=(WIDTH, HEIGHT, MARGIN),
        requests=[one for one in requests if one.detail.get("prompt_id") == prompt_id],
    )


def _apply(request: Request, visitor: AsLead, prompt_id: PromptId) -> Response:
    """Ask for a threshold to come into force."""
    given = visitor.form.read(ApplyForm)
    wish = MoveThreshold(prompt_id=prompt_id, policy_id=given.policy, threshold=given.threshold, doubt=given.doubt)
    with visitor.writing() as connection:
        add_request(connection, visitor.user, wish)
    return sent_to(request, f"{LEAD}/prompts/{prompt_id}")
