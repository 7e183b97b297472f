"""Sign in and out. `nightreel.accounts` slows attempts down.

Before somebody is signed in, the forms belong to a cookie of their own: another site cannot sign a browser in as
somebody else.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from nightreel.accounts.signing_in import (
    LONGEST_NAME,
    RefusedError,
    SignedIn,
    TooSoonError,
    sign_in,
    sign_in_as,
    sign_in_by_link,
)
from nightreel.api.bodies import Body, Sent
from nightreel.api.problems import Problem, busy
from nightreel.api.service import service_of
from nightreel.console.access import (
    CSRF_FIELD,
    PASSWORD,
    SIGN_IN,
    AsViewer,
    check_csrf,
    cookie_name,
    csrf_token,
    is_secure,
)
from nightreel.console.fields import Fields, form_of, query_of
from nightreel.console.problems import sent_to
from nightreel.console.proxied import named_by_proxy
from nightreel.console.rendering import is_time_zone, render
from nightreel.database.preferences import keep_time_zone
from nightreel.database.sessions import LONGEST, revoke_sessions

LINK = "/sign-in/link"
_LONGEST_NEXT = 4000
_LONGEST_SECRET = 100
_LONGEST_PASSWORD = 1024


class SignInForm(Body):
    """What the form of the page sends. `time_zone`: of the browser."""

    name: str = Field("", max_length=LONGEST_NAME)
    password: str = Field("", max_length=_LONGEST_PASSWORD + 1)
    next: str = Field("/", max_length=_LONGEST_NEXT)
    time_zone: str = Field("", max_length=100)


class LinkForm(Body):
    """The secret of a link that signs in once."""

    secret: str = Field("", max_length=_LONGEST_SECRET)


def add_signing_in(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(SIGN_IN, _form, methods=["GET"])
    router.add_api_route(SIGN_IN, _sign_in, methods=["POST"])
    router.add_api_route(LINK, _link_form, methods=["GET"])
    router.add_api_route(LINK, _sign_in_by_link, methods=["POST"])
    router.add_api_route("/sign-out", _sign_out, methods=["POST"])


def _start_session(request: Request, done: SignedIn, *, next_path: str = "/") -> Response:
    """Give the browser the cookie of a session, and send it on."""
    reply = sent_to(request, PASSWORD if done.must_change else local_path(next_path))
    secure = is_secure(request)
    reply.set_cookie(
        cookie_name(secure=secure),
        done.secret,
        max_age=int(LONGEST.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    reply.delete_cookie(_forms_cookie(request), path="/")
    return reply


def local_path(path: str) -> str:
    r"""A path of the console, or "/" for what leads elsewhere.

    >>> [local_path(one) for one in ("/videos/1?t=5", "//evil", "https://evil", "/\\evil", "/\t/evil", "x")]
    ['/videos/1?t=5', '/', '/', '/', '/', '/']
    """
    parts = urlsplit(path)
    is_local = path.startswith("/") and not path.startswith("//") and not parts.scheme and not parts.netloc
    return path if is_local and "\\" not in path and path.isprintable() else "/"


def _form(request: Request) -> Response:
    """The page with the form; whom a proxy names is signed in without it."""
    fields, service = query_of(request), service_of(request)
    named = named_by_proxy(request, service.settings.console_user_header)
    if named is not None:
        try:
            done = sign_in_as(service.database, named, **_browser(request))
        except RefusedError as error:
            raise Problem(403, error.detail) from error
        return _start_session(request, done, next_path=fields.last("next")[:_LONGEST_NEXT])
    return _shown(request, next_path=fields.last("next")[:_LONGEST_NEXT], name="", problem=None)


def _shown(request: Request, *, next_path: str, name: str, problem: str | None, status: int = 200) -> Response:
    shown = {"next_path": local_path(next_path), "name": name, "problem": problem}
    return _with_forms_cookie(request, "sign_in.html", status=status, **shown)


def _link_form(request: Request) -> Response:
    """A page that asks before it uses a link: programs that look at links must not use them up."""
    secret = query_of(request).last("secret")[:_LONGEST_SECRET]
    return _with_forms_cookie(request, "sign_in_link.html", secret=secret, problem=None)


def _with_forms_cookie(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page with a form for somebody who is not signed in."""
    secret = request.cookies.get(_forms_cookie(request)) or secrets.token_urlsafe(32)
    reply = render(request, template, status=status, forms_token=csrf_token(secret), **values)
    reply.set_cookie(
        _forms_cookie(request), secret, path="/", secure=is_secure(request), httponly=True, samesite="strict"
    )
    return reply


async def _form_of_stranger(request: Request, shape: type[Sent]) -> Sent:
    """A form of such a page. Raises Problem as `form_of`, `check_csrf` and `Fields.read`."""
    form = await form_of(request)
    check_csrf(request, form, csrf_token(request.cookies.get(_forms_cookie(request), "")))
    return Fields({name: values for name, values in form.values.items() if name != CSRF_FIELD}).read(shape)


async def _sign_in(request: Request) -> Response:
    return await run_in_threadpool(_try, request, await _form_of_stranger(request, SignInForm))


async def _sign_in_by_link(request: Request) -> Response:
    return await run_in_threadpool(_try_link, request, await _form_of_stranger(request, LinkForm))


def _try(request: Request, given: SignInForm) -> Response:
    service = service_of(request)
    try:
        done = sign_in(service.database, given.name, given.password, **_browser(request))
    except TooSoonError as error:
        raise busy(error.detail, retry_after_s=error.wait_s) from error
    except RefusedError as error:
        return _shown(request, next_path=given.next, name=given.name, problem=error.detail, status=401)
    if is_time_zone(given.time_zone):
        with service.database.begin() as connection:
            keep_time_zone(connection, done.user, given.time_zone)
    return _start_session(request, done, next_path=given.next)


def _try_link(request: Request, given: LinkForm) -> Response:
    try:
        done = sign_in_by_link(service_of(request).database, given.secret, **_browser(request))
    except RefusedError as error:
        return _with_forms_cookie(request, "sign_in_link.html", status=401, secret="", problem=error.detail)
    return _start_session(request, done)


def _browser(request: Request) -> dict[str, str]:
    """Address and name of the browser."""
    return {
        "address": request.client.host if request.client else "",
        "agent": request.headers.get("user-agent", ""),
    }


def _sign_out(request: Request, visitor: AsViewer) -> Response:
    """End the session."""
    with visitor.writing() as connection:
        revoke_sessions(connection, visitor.user, only=visitor.session.id)
    reply = sent_to(request, SIGN_IN)
    reply.delete_cookie(cookie_name(secure=is_secure(request)), path="/", secure=is_secure(request), httponly=True)
    reply.headers["Clear-Site-Data"] = '"cache"'
    return reply


def _forms_cookie(request: Request) -> str:
    return f"{cookie_name(secure=is_secure(request))}-forms"
