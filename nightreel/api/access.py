"""Who calls, and what they may do: a token in the header `Authorization: Bearer nr_…`.

A route names the scope that it needs with `Depends(needs(Scope.READ))`. A test calls all
routes, so none is added without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nightreel.api.problems import Problem, busy
from nightreel.api.service import service_of
from nightreel.database.tokens import StoredToken, find_token, note_use
from nightreel.domain.tokens import Scope, is_token

_bearer = HTTPBearer(auto_error=False, description="a token of `nightreel tokens add`")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a token that counts.

    Args:
        restricted: may see videos with a verdict in the lane `restricted`.
    """

    token: StoredToken

    @property
    def restricted(self) -> bool:
        return Scope.RESTRICTED in self.token.scopes


def needs(scope: Scope) -> Callable[[Request, _Credentials], Caller]:
    """A dependency: the caller, whose token has this scope. It runs before the body of a request is read.

    Raises:
        Problem: 401 without a token that counts, 403 without the scope, 429 after too many requests.
    """

    def caller(request: Request, credentials: _Credentials) -> Caller:
        found = _authenticate(request, credentials)
        if wait_s := service_of(request).rate.wait_s(found.token.id):
            limit = service_of(request).settings.api_requests_per_minute
            raise busy(f"this token made more than {limit} requests in a minute: slow down", retry_after_s=wait_s)
        if scope not in found.token.scopes:
            raise Problem(
                403,
                f"this token has the scopes {', '.join(found.token.scopes)}, not {scope}: `nightreel tokens add` makes "
                "one that has it",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        return found

    return caller


def _authenticate(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    if credentials is None:
        raise _refused("no token: send the header `Authorization: Bearer nr_…`", "Bearer")
    if not is_token(credentials.credentials):
        raise _refused("this is no token: `nightreel tokens add` prints one", 'Bearer error="invalid_token"')
    with service_of(request).database.begin() as connection:
        token = find_token(connection, credentials.credentials)
        if token is not None:
            note_use(connection, token.id)
    if token is None:
        raise _refused("this token is unknown, expired or revoked: ask for a new one", 'Bearer error="invalid_token"')
    return Caller(token)


def _refused(detail: str, challenge: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})
