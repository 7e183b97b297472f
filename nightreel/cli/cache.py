"""`cache`: how large the feature cache is, making it smaller, and whether index and files agree."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from nightreel.cli.console import err, human_bytes, print_json, print_line, print_table
from nightreel.database.eviction import cache_usage
from nightreel.eviction import Eviction
from nightreel.settings import load_settings
from nightreel.stages.evict import evict_cache
from nightreel.stages.run import open_database

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show how large the feature cache is, and keep it in order."""
    if context.invoked_subcommand:
        return
    settings = load_settings()
    with open_database(settings) as database, database.begin() as connection:
        usage = cache_usage(connection, f"{settings.cache_prefix}/")
    limit = settings.cache_limit_bytes
    if as_json:
        values = {name: getattr(usage, name) for name in usage.__slots__}
        print_json({"url": settings.cache_prefix, "limit_bytes": limit or None} | values)
        return
    print_table(
        ("cache", ""),
        [
            ("where", settings.cache_prefix),
            ("features", f"{usage.features:,}"),
            ("size", human_bytes(usage.size_bytes)),
            ("limit", human_bytes(limit) if limit else "none: NIGHTREEL_CACHE_LIMIT_GIB sets one"),
            ("oldest use", f"{usage.oldest_use:%Y-%m-%d %H:%M:%S %Z}" if usage.oldest_use else "never"),
            ("thumbnails", f"{usage.thumbnails:,}, not counted"),
            ("evicted or lost", f"{usage.without_file:,}"),
        ],
    )


def evict(
    to: Annotated[float | None, typer.Option(min=0, help="GiB; default: NIGHTREEL_CACHE_LIMIT_GIB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete the least recently used features until the cache is small enough; what work needs stays."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=err,
        transient=True, disable=not err.is_terminal,
    )  # fmt: skip
    task = bar.add_task("evicting", total=None)

    def show_progress(done: Eviction) -> None:
        bar.update(task, completed=done.size_bytes, total=done.size_bytes + max(0, done.held_bytes - done.limit_bytes))

    with bar:
        done = evict_cache(to, dry_run=dry_run, on_progress=show_progress)
    would = "would be " if dry_run else ""
    print_line(
        f"{done.features:,} features of {human_bytes(done.size_bytes)} {would}evicted, "
        f"{human_bytes(done.held_bytes)} {'would be ' if dry_run else ''}left"
    )
    if not done.reached:
        print_line(f"{done.needed:,} features stay: pending and running work needs them", style="yellow")
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The feature cache.", invoke_without_command=True, callback=show)
    group.command()(evict)
    app.add_typer(group, name="cache")
