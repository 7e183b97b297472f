"""A person's own page: password, sessions, language and time zone."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response
from pydantic import Field

from nightreel.accounts.passwords import LONGEST, SHORTEST
from nightreel.accounts.signing_in import RefusedError, TooSoonError, change_password, confirm_password
from nightreel.api.bodies import Body
from nightreel.api.problems import Problem, busy
from nightreel.console.access import PASSWORD, AsViewer
from nightreel.console.languages import NAMES
from nightreel.console.problems import sent_to
from nightreel.console.rendering import is_time_zone, render, time_zones
from nightreel.console.words import mark as _
from nightreel.database.passwords import is_temporary
from nightreel.database.preferences import save_preferences
from nightreel.database.sessions import list_sessions, revoke_sessions
from nightreel.errors import SettingsError

ACCOUNT = "/account"
_LARGEST_ID = 2**63 - 1


class PasswordForm(Body):
    """The password until now, and the new one twice."""

    current: str = Field("", max_length=LONGEST + 1)
    new: str = Field("", max_length=LONGEST + 1)
    again: str = Field("", max_length=LONGEST + 1)


class PreferencesForm(Body):
    """Empty: as the browser says."""

    language: str = Field("", max_length=20)
    time_zone: str = Field("", max_length=100)


class SessionForm(Body):
    """The session to end; none: all but this one."""

    session: int | None = Field(None, ge=1, le=_LARGEST_ID)


def add_account(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(ACCOUNT, _account, methods=["GET"])
    router.add_api_route(f"{ACCOUNT}/preferences", _prefer, methods=["POST"])
    router.add_api_route(f"{ACCOUNT}/sessions/end", _end_sessions, methods=["POST"])
    router.add_api_route(PASSWORD, _password_form, methods=["GET"])
    router.add_api_route(PASSWORD, _change_password, methods=["POST"])


def _account(request: Request, visitor: AsViewer) -> Response:
    with visitor.reading() as connection:
        sessions = list_sessions(connection, visitor.user)
    return render(request, "account.html", sessions=sessions, time_zones=time_zones())


def _prefer(request: Request, visitor: AsViewer) -> Response:
    given = visitor.form.read(PreferencesForm)
    if given.language and given.language not in NAMES:
        raise Problem(422, f"language={given.language!r}: expected one of {', '.join(NAMES)}")
    if given.time_zone and not is_time_zone(given.time_zone):
        raise Problem(422, f"time_zone={given.time_zone!r}: expected one such as Europe/Berlin")
    chosen = replace(visitor.preferences, language=given.language or None, time_zone=given.time_zone or None)
    with visitor.writing() as connection:
        save_preferences(connection, visitor.user, chosen)
    return sent_to(request, ACCOUNT)


def _end_sessions(request: Request, visitor: AsViewer) -> Response:
    given = visitor.form.read(SessionForm)
    with visitor.writing() as connection:
        if given.session is None:
            revoke_sessions(connection, visitor.user, but=visitor.session.id)
        else:
            revoke_sessions(connection, visitor.user, only=given.session)
    return sent_to(request, ACCOUNT)


def _password_form(request: Request, visitor: AsViewer) -> Response:
    return _password_page(request, visitor, problem=None)


def _password_page(request: Request, visitor: AsViewer, *, problem: str | None, status: int = 200) -> Response:
    with visitor.reading() as connection:
        temporary = is_temporary(connection, visitor.user)
    return render(request, "password.html", status=status, problem=problem, temporary=temporary, shortest=SHORTEST)


def _change_password(request: Request, visitor: AsViewer) -> Response:
    given = visitor.form.read(PasswordForm)
    if given.new != given.again:
        return _password_page(request, visitor, problem=_("the new passwords differ"), status=422)
    try:
        confirm_password(visitor.service.database, visitor.user, given.current)
    except TooSoonError as error:
        raise busy(error.detail, retry_after_s=error.wait_s) from error
    except RefusedError:
        return _password_page(request, visitor, problem=_("the password until now is wrong"), status=422)
    try:
        with visitor.writing() as connection:
            change_password(connection, visitor.user, given.new, keep_session=visitor.session.id)
    except SettingsError as error:
        return _password_page(request, visitor, problem=error.detail, status=422)
    return sent_to(request, ACCOUNT)
