"""`settings`: show each setting, its value, and where the value comes from. Starts no service."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.errors import SettingsError
from nightreel.settings import variables_of, where_set
from nightreel.suggestions import did_you_mean, sentence
from nightreel.units import human_bytes, human_seconds


def settings(
    name: Annotated[str | None, typer.Argument(help="Part of the names of the settings to show.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings without their default value.")] = False,
    as_json: Json = False,
) -> None:
    """Show each setting, its value, and where it comes from. Secrets are hidden."""
    values, places = command_settings().public(), where_set()
    chosen = [field for field in values if not name or name.upper() in variables_of(field)[0]]
    if not chosen:
        hint = did_you_mean(f"NIGHTREEL_{name}", [variables_of(field)[0] for field in values])
        raise SettingsError(sentence(f"no setting has {name!r} in its name", hint, "`nightreel settings` lists all"))
    if changed:
        chosen = [field for field in chosen if field in places]
    if not (chosen or as_json):
        print_line("none: every setting has its default value")
        return
    if as_json:
        print_json(
            {
                variables_of(field)[0]: {"value": values[field], "from": _place(places.get(field), field)}
                for field in chosen
            }
        )
        return
    print_table(
        ("setting", "value", "from"),
        [
            (
                variables_of(field)[0],
                _shown(field, values[field]),
                _place(places.get(field), field) if field in places else Text("default", style="dim"),
            )
            for field in chosen
        ],
    )


def _place(found: tuple[str, str] | None, field: str) -> str:
    if found is None:
        return "default"
    name, place = found
    return place if name == variables_of(field)[0] else f"{place}: {name}"


def _shown(field: str, value: Any) -> str:
    """A value as one would write it in `.env`, and as people read it."""
    if value is None or value == []:
        return "*" if field == "suffixes" else ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    read = _read(field, value)
    return f"{value:g}{read}" if isinstance(value, float) else f"{value}{read}"


def _read(field: str, value: Any) -> str:
    """The value with its unit, for large numbers."""
    if field.endswith(("_bytes", "_mib")) and value >= 1024:
        return f" ({human_bytes(value << 20 if field.endswith('_mib') else value)})"
    return f" ({human_seconds(value)})" if field.endswith("_s") and value >= 60 else ""


def register(app: typer.Typer) -> None:
    app.command()(settings)
