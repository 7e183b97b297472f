"""`tokens add`, `tokens list`, `tokens revoke`: who may call the REST service, for what, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.database import tokens as stored
from nightreel.database.tokens import StoredToken
from nightreel.database.users import find_user
from nightreel.domain.tokens import Scope, parse_lifetime
from nightreel.domain.users import Role
from nightreel.errors import SettingsError
from nightreel.stages.database import open_database

_LONGEST_NAME = 200


def add(
    name: Annotated[str, typer.Argument(help="Name of its user: a person or a program. A new name becomes a viewer.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeatable. Default: read and media.")
    ] = None,
    expires: Annotated[str, typer.Option(help="How long it counts: 12h, 90d, 8w.")] = "90d",
) -> None:
    """Make a token of the REST service and print it: it cannot be shown again."""
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise SettingsError(f"{name[:40]!r}: expected a name of 1 to {_LONGEST_NAME} characters")
    scopes = set(scope or (Scope.READ, Scope.MEDIA))
    if scopes == {Scope.RESTRICTED}:
        raise SettingsError("--scope restricted alone allows nothing: add read, media, export, ask or review")
    lifetime = parse_lifetime(expires)
    with open_database(command_settings()) as database, database.begin() as connection:
        user = find_user(connection, name.strip())
        if Scope.REVIEW in scopes and not (user and user.reviews):
            raise SettingsError(
                f"{name!r} works no queue: `nightreel users add {name} --role reviewer` makes a reviewer"
            )
        if Scope.ADMIN in scopes and not (user and user.may(Role.ADMIN)):
            raise SettingsError(f"{name!r} is no admin: `nightreel users add {name} --role admin` makes one")
        token = stored.add_token(connection, name.strip(), scopes=scopes, lifetime=lifetime)
    err.print(
        f"A token of {plain(name)} for {', '.join(sorted(scopes))}. Keep it: it is not shown again.", markup=False
    )
    print_line(token)


def list_all(as_json: Json = False) -> None:
    """List all tokens, the newest first. Their secrets are not stored."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.list_tokens(connection)
    if as_json:
        print_json([_values(one) for one in found])
        return
    columns = ("id", "user", "token", "scopes", "state", "expires", "last used")
    print_table(columns, (tuple(_values(one).values()) for one in found))


def revoke(
    number: Annotated[int, typer.Argument(help="Its id in `nightreel tokens list`.", min=1, max=2**63 - 1)],
) -> None:
    """Revoke a token: from now on it opens nothing."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.revoke_token(connection, number)
    if found is None:
        raise SettingsError(f"there is no token {number}: `nightreel tokens list` shows all")
    print_line(f"revoked: {found.shown} of {plain(found.user)}")


def _values(token: StoredToken) -> dict[str, object]:
    return {
        "id": token.id,
        "user": token.user,
        "token": token.shown,
        "scopes": " ".join(token.scopes),
        "state": _state(token),
        "expires": f"{token.expires_at:%Y-%m-%d %H:%M}",
        "last_used": f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else None,
    }


def _state(token: StoredToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.expires_at > datetime.now(UTC) else "expired"


def register(app: typer.Typer) -> None:
    tokens = typer.Typer(help="Manage the tokens of the REST service.", no_args_is_help=True)
    tokens.command()(add)
    tokens.command("list")(list_all)
    tokens.command()(revoke)
    app.add_typer(tokens, name="tokens")
