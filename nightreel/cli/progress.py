"""A bar for work whose amount is known, on a terminal; nothing in a pipe."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from nightreel.cli.console import err


def progress_bar() -> Progress:
    """The bar, not started yet. Use as a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
