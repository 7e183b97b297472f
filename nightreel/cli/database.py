"""`db upgrade`, `db roles`, `db url`: the tables of the database, and who may do what there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy import text

from nightreel import services
from nightreel.cli.console import command_settings, print_line, print_table
from nightreel.cli.policy import print_progress
from nightreel.database.connection import Database
from nightreel.database.migrations import state_rights
from nightreel.errors import SettingsError
from nightreel.services import open_services
from nightreel.services.postgres_roles import ANALYST, CONSOLE, OWNER, WORKER, Role
from nightreel.stages.database import upgrade_database


class Person(StrEnum):
    """Who connects."""

    ANALYST = "analyst"
    CONSOLE = "console"
    WORKER = "worker"
    OWNER = "owner"


_ROLES: dict[Person, Role] = {
    Person.ANALYST: ANALYST,
    Person.CONSOLE: CONSOLE,
    Person.WORKER: WORKER,
    Person.OWNER: OWNER,
}
_MAY = {
    Person.ANALYST: "reads the views in reporting",
    Person.CONSOLE: "reads the views in reporting, and tokens; adds decisions, changes who has a case",
    Person.WORKER: "runs: reads and writes rows",
    Person.OWNER: "owns tables and views, upgrades them",
}


def database_upgrade() -> None:
    """Upgrade the database to the tables and views of this version."""
    settings = command_settings()
    with open_services(settings, prefect=False) as endpoints:
        before, after = upgrade_database(
            endpoints.owner_url, console_url=settings.console_url, on_progress=print_progress
        )
    print_line(f"database at revision {after}" + ("" if before == after else f" (was {before or 'empty'})"))


def roles() -> None:
    """Give each role its rights on tables and views again, and show which roles this server has."""
    with open_services(command_settings(), prefect=False) as endpoints:
        owner = Database(endpoints.owner_url)
        try:
            with owner.translated():
                state_rights(owner.engine)
            with owner.begin() as connection:
                found = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
        finally:
            owner.close()
    print_table(
        ("role", "exists", "may"),
        ((role, "yes" if role in found else "no", _MAY[person]) for person, role in _ROLES.items()),
    )
    if missing := [role for role in _ROLES.values() if role not in found]:
        print_line("Let an administrator of the server make the missing ones, then run this again:")
        for role in missing:
            print_line(f"CREATE ROLE {role} LOGIN PASSWORD '...';")


def url(
    person: Annotated[Person, typer.Option("--as", help="Who connects.")] = Person.ANALYST,
) -> None:
    """Print the URL of the embedded Postgres, with the password: for psql, DBeaver, Metabase or Grafana."""
    settings = command_settings()
    found = services.running_database(settings, role=_ROLES[person])
    if found is None:
        raise SettingsError(f"there is no Postgres in {settings.work_dir}: `nightreel up` makes and starts it")
    print_line(found.set(drivername="postgresql").render_as_string(hide_password=False))


def register(app: typer.Typer) -> None:
    database = typer.Typer(help="Manage the database.", no_args_is_help=True)
    database.command("upgrade")(database_upgrade)
    database.command()(roles)
    database.command()(url)
    app.add_typer(database, name="db")
