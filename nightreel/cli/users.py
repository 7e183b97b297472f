"""`users add|list|change|reset|sign-out|disable|enable`: the people who judge videos."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import Connection

from nightreel.accounts.passwords import hash_password, new_password
from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.database import users as stored
from nightreel.database.passwords import TEMPORARY, set_password
from nightreel.database.sessions import revoke_sessions
from nightreel.domain.users import Role, User
from nightreel.errors import SettingsError
from nightreel.stages.database import open_database
from nightreel.units import counted

_LONGEST_NAME = 200
Name = Annotated[str, typer.Argument(help="Name of the person.")]


def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the person may do.")] = Role.REVIEWER,
    restricted: Annotated[bool, typer.Option("--restricted", help="The person may see restricted videos.")] = False,
    pseudonym: Annotated[
        str | None, typer.Option(help="The name that others see beside decisions. Default: a random one.")
    ] = None,
) -> None:
    """Add a person."""
    for given in (name, pseudonym):
        if given is not None and (not given.strip() or len(given) > _LONGEST_NAME):
            raise SettingsError(f"{given[:40]!r}: expected a name of 1 to {_LONGEST_NAME} characters")
    pseudonym = pseudonym.strip() if pseudonym else None
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.add_user(connection, name.strip(), role=role, restricted=restricted, pseudonym=pseudonym)
    if found is None:
        raise SettingsError(f"{name!r} or the pseudonym is taken: `nightreel users list` shows all")
    print_line(f"{plain(found.name)} is a {found.role}, shown to others as {plain(found.pseudonym)}")
    print_line(f"`nightreel users reset {plain(found.name)}` gives the person a password for the console")


def list_all(as_json: Json = False) -> None:
    """List all people, the disabled ones too."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.list_users(connection)
    if as_json:
        print_json([_values(one) for one in found])
        return
    print_table(("name", "shown as", "role", "restricted", "state"), (tuple(_values(one).values()) for one in found))


def change(
    name: Name,
    role: Annotated[Role | None, typer.Option(help="What the person may do from now on.")] = None,
    restricted: Annotated[
        bool | None, typer.Option("--restricted/--not-restricted", help="Whether the person may see restricted videos.")
    ] = None,
) -> None:
    """Change the role of a person, or whether the person may see restricted videos."""
    if role is None and restricted is None:
        raise SettingsError("nothing to change: give --role, --restricted or --not-restricted")
    _change(name, role=role, restricted=restricted)


def reset(name: Name) -> None:
    """Give a person a new random password, end the person's sessions, and print the password once.

    It counts for three days, and the person must change it.
    """
    password = new_password(name=name)
    with open_database(command_settings()) as database, database.begin() as connection:
        user = _find(connection, name)
        set_password(connection, user, hash_password(password), temporary=True)
        ended = revoke_sessions(connection, user)
    print_line(password)
    err.print(
        f"counts for {TEMPORARY.days} days, until {plain(name)} changes it; {counted(ended, 'session')} ended",
        markup=False,
        soft_wrap=True,
    )


def sign_out(name: Name) -> None:
    """End all sessions of a person."""
    with open_database(command_settings()) as database, database.begin() as connection:
        ended = revoke_sessions(connection, _find(connection, name))
    print_line(f"{counted(ended, 'session')} ended")


def disable(name: Name) -> None:
    """Let a person do nothing from now on: sessions end, and tokens do not count. Decisions stay."""
    _change(name, disabled=True)


def enable(name: Name) -> None:
    """Undo `users disable`."""
    _change(name, disabled=False)


def _change(
    name: str, *, role: Role | None = None, restricted: bool | None = None, disabled: bool | None = None
) -> None:
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.change_user(connection, name, role=role, restricted=restricted, disabled=disabled)
        if disabled and found is not None:
            revoke_sessions(connection, found)
    if found is None:
        raise _unknown(name)
    print_line(", ".join(f"{key} {plain(value)}" for key, value in _values(found).items()))


def _find(connection: Connection, name: str) -> User:
    found = stored.find_user(connection, name)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> SettingsError:
    return SettingsError(f"there is no user {name!r}: `nightreel users list` shows all")


def _values(user: User) -> dict[str, str]:
    return {
        "name": user.name,
        "pseudonym": user.pseudonym,
        "role": user.role,
        "restricted": "yes" if user.restricted else "no",
        "state": "disabled" if user.disabled_at else "enabled",
    }


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Manage the people who judge videos.", no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_all)
    group.command()(change)
    group.command()(reset)
    group.command("sign-out")(sign_out)
    group.command()(disable)
    group.command()(enable)
    app.add_typer(group, name="users")
