"""Output of commands: tables and bars on a terminal, plain lines in a pipe, JSON with `--json`.

Names and answers are untrusted: control characters are shown as escapes, and markup is not interpreted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from nightreel.cli.tables import lay_out
from nightreel.logs import escape_controls, set_up_command_logging
from nightreel.settings import Settings, load_settings

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command_settings(**overrides: Any) -> Settings:
    """Load the settings of a command and set up its logging. See `load_settings`.

    Shows records of Nightreel, and those of libraries from WARNING on; Prefect's UI has more.
    """
    settings = load_settings(**overrides)
    terminal = RichHandler(console=err, show_time=False, show_path=False, markup=False, highlighter=None)
    set_up_command_logging(settings, terminal=terminal)
    return settings


def plain(value: Any, *, width: int | None = None) -> str:
    r"""`value` as one line that cannot move the cursor or colour the screen.

    >>> plain("a\x1b[31m\n\u202eb")
    'a\\x1b[31m\\n\\u202eb'
    """
    text = "" if value is None else str(value)
    safe = escape_controls(text)
    return safe if width is None or len(safe) <= width else safe[: width - 1] + "…"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on a terminal, tab-separated lines with a header in a pipe."""
    if not out.is_terminal:
        for row in (columns, *rows):
            out.file.write("\t".join(plain(value) for value in row) + "\n")  # rich would turn tabs into spaces
        return
    cells = [[value if isinstance(value, Text) else Text(plain(value)) for value in row] for row in rows]
    for part in lay_out(columns, cells, width=out.width):
        out.print(part, soft_wrap=isinstance(part, Text))


def print_line(text: str = "", *, style: str | None = None) -> None:
    """Print one line unchanged: not wrapped, not interpreted as markup."""
    out.print(Text(text), style=style, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document. `default=str` covers times and paths."""
    unicode = out.encoding.startswith("utf")
    out.file.write(json.dumps(value, indent=2, default=str, ensure_ascii=not unicode) + "\n")
