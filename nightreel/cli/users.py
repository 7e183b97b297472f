"""`users add`, `users list`, `users change`, `users disable`, `users enable`: the people who judge videos."""

from __future__ import annotations

from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.database import users as stored
from nightreel.domain.users import Role, User
from nightreel.errors import SettingsError
from nightreel.stages.database import open_database

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


def disable(name: Name) -> None:
    """Let a person do nothing from now on; the person's tokens do not count either. Decisions stay."""
    _change(name, disabled=True)


def enable(name: Name) -> None:
    """Undo `users disable`."""
    _change(name, disabled=False)


def _change(
    name: str, *, role: Role | None = None, restricted: bool | None = None, disabled: bool | None = None
) -> None:
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.change_user(connection, name, role=role, restricted=restricted, disabled=disabled)
    if found is None:
        raise SettingsError(f"there is no user {name!r}: `nightreel users list` shows all")
    print_line(", ".join(f"{key} {plain(value)}" for key, value in _values(found).items()))


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
    group.command()(disable)
    group.command()(enable)
    app.add_typer(group, name="users")
