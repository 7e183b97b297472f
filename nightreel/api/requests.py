"""What a process of the worker's role carries out: erasures, legal holds, golden items and thresholds.

The service only adds requests, and previews what they would do. Admins ask for the first three, with a token of the
scope `admin`; leads for thresholds, with the scope `review`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from nightreel.api.access import Caller, needs
from nightreel.api.bodies import Body, sent
from nightreel.api.problems import Problem
from nightreel.api.replies import json_reply
from nightreel.api.review import MayReview, acting, add_route, may_review
from nightreel.api.service import service_of
from nightreel.database.erasures import are_restricted
from nightreel.database.policies import policies_in_force
from nightreel.database.requests import add_request, find_request
from nightreel.domain import Prompt, PromptSet
from nightreel.domain.requests import AddGolden, AddHold, EndGolden, EndHold, EraseVideo, MoveThreshold, Wish, moved
from nightreel.domain.tokens import Scope
from nightreel.domain.users import Role, User
from nightreel.review.access import require_lead
from nightreel.review.calibrating import calibratable
from nightreel.review.golden import golden_items
from nightreel.review.refusals import NotAllowedError, NotFoundError
from nightreel.stages.changed_flags import changed_flags
from nightreel.stages.erase_target import Target, find_target, preview_erasure
from nightreel.stages.preview import preview

_LARGEST_ID = 2**63 - 1
_WHAT = re.compile(r"[0-9a-f]{64}|[a-z][a-z0-9+.-]*://.+", re.DOTALL)
may_administer = needs(Scope.ADMIN)
MayAdminister = Annotated[Caller, Depends(may_administer)]
Id = Annotated[int, Path(ge=1, le=_LARGEST_ID)]
_Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class VideoBody(Body):
    """The URI of an object, or the SHA-256 of a content."""

    what: _Text


class EraseBody(VideoBody):
    """An erasure. `all_copies`: the same bytes under other keys, too. `digest`: of the preview."""

    all_copies: bool = False
    reason: _Text
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class LegalHoldBody(VideoBody):
    """What must not be erased, and why."""

    reason: _Text


class GoldenBody(Body):
    """A video of which the right decision is known. `labels`: whether each is right, by its name or SET/NAME."""

    video_id: int = Field(ge=1, le=_LARGEST_ID)
    labels: dict[_Text, bool] = Field(min_length=1, max_length=100)


class ThresholdBody(Body):
    """Another threshold of a prompt, and the doubt around it."""

    prompt_id: int = Field(ge=1, le=_LARGEST_ID)
    threshold: _Share
    doubt: _Share


class MoveBody(ThresholdBody):
    """A threshold to bring into force. `policy_id`: the one that was in force when it was previewed."""

    policy_id: int = Field(ge=1, le=_LARGEST_ID)


class AskedShape(BaseModel):
    """The number of a request, to look up what became of it."""

    request_id: int


class RequestShape(BaseModel):
    """A request. `outcome`: what was done, or why not (`failed`); null: it waits. `who`: a pseudonym."""

    request_id: int
    kind: str
    who: str
    asked_at: datetime
    ended_at: datetime | None
    outcome: str | None
    failed: bool


class ErasurePreviewShape(BaseModel):
    """What an erasure would be about: numbers of objects, their versions, and other objects with the same bytes."""

    objects: int
    versions: int
    copies: int
    holds: dict[int, str] = Field(description="legal holds that block it, with their reasons")
    digest: str = Field(description="names exactly these versions")


class GoldenShape(BaseModel):
    """The golden items that people get."""

    items: list[dict[str, Any]]


class ThresholdShape(BaseModel):
    """What a threshold would do, in numbers of videos: flags `gained` and `lost`, and `other` verdicts that change."""

    policy_id: int = Field(description="in force now")
    gained: int
    lost: int
    other: int
    examples: list[dict[str, Any]]


def add_requests(router: APIRouter) -> None:
    """Add the routes."""
    add = partial(add_route, router)
    add("/requests/erasures/preview", _preview_erasure, ErasurePreviewShape, body=VideoBody)
    add("/requests/erasures", _erase, AskedShape, body=EraseBody)
    add("/requests/holds", _hold, AskedShape, body=LegalHoldBody)
    add("/requests/holds/{hold_id}/end", _end_hold, AskedShape)
    add("/golden", _golden, GoldenShape, reads=True)
    add("/requests/golden", _add_golden, AskedShape, body=GoldenBody)
    add("/requests/golden/{golden_id}/end", _end_golden, AskedShape)
    add("/requests/thresholds/preview", _preview_threshold, ThresholdShape, body=ThresholdBody)
    add("/requests/thresholds", _move_threshold, AskedShape, body=MoveBody)
    add("/requests/{request_id}", _request, RequestShape, reads=True)


def _preview_erasure(
    request: Request, caller: MayAdminister, body: Annotated[VideoBody, Depends(sent(VideoBody, may_administer))]
) -> Response:
    """What erasing a video would be about, copies counted. It changes nothing."""
    with _administering(request, caller) as (connection, user):
        found = preview_erasure(connection, _target(connection, user, body.what))
    return json_reply(request, asdict(found))


def _erase(
    request: Request, caller: MayAdminister, body: Annotated[EraseBody, Depends(sent(EraseBody, may_administer))]
) -> Response:
    """Ask to erase all that is known of a video. Other versions or copies than the preview showed refuse it."""
    with _administering(request, caller) as (connection, user):
        _target(connection, user, body.what)
        return _asked(request, connection, user, EraseVideo(**body.model_dump()))


def _hold(
    request: Request,
    caller: MayAdminister,
    body: Annotated[LegalHoldBody, Depends(sent(LegalHoldBody, may_administer))],
) -> Response:
    """Ask to hold a video: nothing erases it."""
    with _administering(request, caller) as (connection, user):
        _target(connection, user, body.what)
        return _asked(request, connection, user, AddHold(**body.model_dump()))


def _end_hold(request: Request, caller: MayAdminister, hold_id: Id) -> Response:
    """Ask to end a legal hold."""
    with _administering(request, caller) as (connection, user):
        return _asked(request, connection, user, EndHold(hold_id=hold_id))


def _golden(request: Request, caller: MayAdminister) -> Response:
    """The golden items that people get."""
    with _administering(request, caller) as (connection, user):
        found = golden_items(connection)
        hidden = set() if user.restricted else are_restricted(connection, [one.uri for one in found if one.uri])
    shown = [replace(one, uri=None) if one.uri in hidden else one for one in found]
    return json_reply(request, {"items": [asdict(one) for one in shown]})


def _add_golden(
    request: Request, caller: MayAdminister, body: Annotated[GoldenBody, Depends(sent(GoldenBody, may_administer))]
) -> Response:
    """Ask to keep a video as a golden item."""
    with _administering(request, caller) as (connection, user):
        return _asked(request, connection, user, AddGolden(**body.model_dump()))


def _end_golden(request: Request, caller: MayAdminister, golden_id: Id) -> Response:
    """Ask to give a golden item to nobody any more."""
    with _administering(request, caller) as (connection, user):
        return _asked(request, connection, user, EndGolden(golden_id=golden_id))


def _preview_threshold(
    request: Request, caller: MayReview, body: Annotated[ThresholdBody, Depends(sent(ThresholdBody, may_review))]
) -> Response:
    """What a threshold would do to the flags of videos. It changes nothing."""
    with acting(request, caller) as (connection, user):
        require_lead(user, "a threshold")
        prompt, policy_id = _prompt(connection, body.prompt_id)
    changed = replace(prompt, policy=moved(prompt.policy, body.threshold, body.doubt))
    prompts = PromptSet(changed.set_name, (changed,))
    (would,) = preview(service_of(request).database, prompts, restricted=user.restricted)
    examples = [asdict(one) for one in would.examples]
    return json_reply(request, {"policy_id": policy_id, "examples": examples} | asdict(changed_flags(would)))


def _move_threshold(
    request: Request, caller: MayReview, body: Annotated[MoveBody, Depends(sent(MoveBody, may_review))]
) -> Response:
    """Ask for a threshold to come into force."""
    with acting(request, caller) as (connection, user):
        require_lead(user, "a threshold")
        _prompt(connection, body.prompt_id)
        return _asked(request, connection, user, MoveThreshold(**body.model_dump()))


def _request(request: Request, caller: MayReview, request_id: Id) -> Response:
    """What became of a request: leads may look."""
    with acting(request, caller) as (connection, user):
        require_lead(user, "a request")
        found = find_request(connection, request_id)
    if found is None:
        raise NotFoundError(f"there is no request {request_id}")
    names = (*RequestShape.model_fields,)[1:]
    return json_reply(request, {"request_id": found.id} | {name: getattr(found, name) for name in names})


@contextmanager
def _administering(request: Request, caller: Caller) -> Iterator[tuple[Connection, User]]:
    """A transaction, and the user of the token. Raises NotAllowedError: the user is not an admin."""
    with acting(request, caller) as (connection, user):
        if not user.may(Role.ADMIN):
            raise NotAllowedError(f"{user.name} is a {user.role}: this needs an admin")
        yield connection, user


def _asked(request: Request, connection: Connection, user: User, wish: Wish) -> Response:
    return json_reply(request, {"request_id": add_request(connection, user, wish)})


def _target(connection: Connection, user: User, what: str) -> Target:
    """What is known of a video that the person may know of. Raises NotFoundError: nothing is."""
    if not _WHAT.fullmatch(what):
        raise Problem(422, f"what={what[:100]!r}: expected the URI of an object, or the SHA-256 of a content")
    target = find_target(connection, what, None)
    uris = {one.uri for one in (*target.versions, *target.copies)}
    if not target.versions or (not user.restricted and are_restricted(connection, uris)):
        raise NotFoundError(f"no video {what[:200]!r} is known, or none that {user.name} may see")
    return target


def _prompt(connection: Connection, prompt_id: int) -> tuple[Prompt, int]:
    """A prompt that a threshold decides, and the number of its policy."""
    prompt = calibratable(connection).get(prompt_id)
    if prompt is None:
        raise NotFoundError(f"there is no prompt {prompt_id} that a threshold decides")
    return prompt, policies_in_force(connection, [prompt_id])[prompt_id].id
