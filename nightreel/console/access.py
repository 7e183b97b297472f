"""Who is signed in, and what they may do.

A route names the role that it needs in the type of its visitor: `AsViewer`, `AsReviewer`, `AsLead` or `AsAdmin`. A test
calls all routes, so none is added without one. A request that changes something also needs the token of the visitor's
forms: another site cannot know it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from nightreel.api.problems import Problem
from nightreel.api.reading import reading, writing
from nightreel.api.service import Service, service_of
from nightreel.console.fields import Fields, form_of
from nightreel.console.proxied import named_by_proxy
from nightreel.console.safety import SAFE_METHODS
from nightreel.database.sessions import Session, find_session
from nightreel.domain.preferences import Preferences
from nightreel.domain.users import Role, User

CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
SIGN_IN, PASSWORD = "/sign-in", "/account/password"


class SentElsewhereError(Exception):
    """The visitor must go to another page first."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A person who is signed in.

    Args:
        csrf_token: of the forms of this session. form: what the request sends.
    """

    service: Service
    session: Session
    preferences: Preferences
    csrf_token: str
    form: Fields = field(default_factory=Fields)

    @property
    def user(self) -> User:
        return self.session.user

    @contextmanager
    def reading(self, *, restricted: bool | None = None) -> Iterator[Connection]:
        """A transaction that writes nothing.

        Args:
            restricted: show texts and pictures of restricted videos; None: if the person may see them.
        """
        shown = self.user.restricted if restricted is None else restricted and self.user.restricted
        with reading(self.service.database, restricted=shown) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write."""
        with writing(self.service.database, restricted=self.user.restricted) as connection:
            yield connection


def cookie_name(*, secure: bool) -> str:
    """The name of the cookie of a session. Over TLS, no other host or path can set one of this name."""
    return "__Host-nightreel" if secure else "nightreel"


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, to the console or to its proxy."""
    return request.url.scheme == "https"


def csrf_token(secret: str) -> str:
    """The token of all forms that belong to a secret cookie. It tells nothing of the secret."""
    return hmac.new(secret.encode(errors="replace"), b"forms", hashlib.sha256).hexdigest()


def check_csrf(request: Request, form: Fields, token: str) -> None:
    """Check that a request comes from a form of ours. Raises Problem 403."""
    given = request.headers.get(CSRF_HEADER) or form.last(CSRF_FIELD)
    if not hmac.compare_digest(given.encode(errors="replace"), token.encode()):
        raise Problem(403, "this form is not of your session: load the page again, then send it again")


def needs(role: Role) -> Callable[[Request], Awaitable[Visitor]]:
    """A dependency: the visitor, who has this role. It runs before the body of a request is read.

    Raises:
        SentElsewhereError: nobody is signed in, or the password must be changed first.
        Problem: 403 without the role or the token of forms.
    """

    async def visitor(request: Request) -> Visitor:
        found = await run_in_threadpool(_signed_in, request)
        request.state.visitor = found
        if not found.user.may(role):
            raise Problem(403, f"this needs the role {role}, and you have the role {found.user.role}")
        if request.method in SAFE_METHODS:
            return found
        form = await form_of(request)
        check_csrf(request, form, found.csrf_token)
        fields = {name: values for name, values in form.values.items() if name != CSRF_FIELD}
        return replace(found, form=Fields(fields))

    return visitor


def visitor_of(request: Request) -> Visitor | None:
    """Who is signed in, as far as the route of this request asked; None: nobody, or it did not ask."""
    return getattr(request.state, "visitor", None)


AsViewer = Annotated[Visitor, Depends(needs(Role.VIEWER))]
AsReviewer = Annotated[Visitor, Depends(needs(Role.REVIEWER))]
AsLead = Annotated[Visitor, Depends(needs(Role.LEAD))]
AsAdmin = Annotated[Visitor, Depends(needs(Role.ADMIN))]


def _signed_in(request: Request) -> Visitor:
    secret = request.cookies.get(cookie_name(secure=is_secure(request)), "")
    service = service_of(request)
    found = None
    if secret:
        with service.database.begin() as connection:
            found = find_session(connection, secret)
    if found is None or not _is_named(request, service, found.session.user):
        raise SentElsewhereError(_sign_in_for(request))
    if request.url.path != PASSWORD and found.must_change:
        raise SentElsewhereError(PASSWORD)
    return Visitor(service=service, session=found.session, preferences=found.preferences, csrf_token=csrf_token(secret))


def _is_named(request: Request, service: Service, user: User) -> bool:
    """Whether the proxy that signs people in says that this is the person; without such a proxy, whoever it is."""
    header = service.settings.console_user_header
    return not header or named_by_proxy(request, header) == user.name


def _sign_in_for(request: Request) -> str:
    """The page that signs in and leads back to what was asked for."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return SIGN_IN if request.method not in SAFE_METHODS or path == "/" else f"{SIGN_IN}?next={quote(path, safe='')}"
