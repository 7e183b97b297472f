"""`cache`: show the size of the feature cache, make it smaller, check that index and files agree, rotate its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from nightreel.cache.check import GRACE_S, CacheCheck, CheckCounts
from nightreel.cache.eviction import Eviction
from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.cli.progress import progress_bar
from nightreel.database.eviction import cache_usage
from nightreel.stages.cache import open_cache, rotate_cache_key
from nightreel.stages.database import open_database
from nightreel.stages.evict import evict_cache
from nightreel.storage import open_storage
from nightreel.units import human_bytes

_SHOWN = 50  # findings; all are counted


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the size of the feature cache; evict features; check its index; rotate its key."""
    if context.invoked_subcommand:
        return
    settings = command_settings()
    url = open_storage(settings.cache_prefix, settings).url
    with open_database(settings) as database, database.begin() as connection:
        usage = cache_usage(connection, f"{url}/")
    limit = settings.cache_limit_bytes
    if as_json:
        values = {name: getattr(usage, name) for name in usage.__slots__}
        print_json({"url": url, "limit_bytes": limit or None} | values)
        return
    print_table(
        ("cache", ""),
        [
            ("where", url),
            ("features", f"{usage.features:,}"),
            ("size", human_bytes(usage.size_bytes)),
            ("limit", human_bytes(limit) if limit else "none: set NIGHTREEL_CACHE_LIMIT_GIB"),
            ("oldest use", f"{usage.oldest_use:%Y-%m-%d %H:%M:%S %Z}" if usage.oldest_use else "never"),
            ("thumbnails", f"{usage.thumbnails:,}, not part of the size"),
            ("evicted or lost", f"{usage.without_file:,}"),
        ],
    )


def evict(
    to: Annotated[
        float | None, typer.Option(min=0, help="Size to reach, GiB; default: NIGHTREEL_CACHE_LIMIT_GIB.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be evicted, delete nothing.")] = False,
) -> None:
    """Delete the least recently used features until the cache is small enough; keep those that work needs."""
    settings = command_settings()
    bar = progress_bar()
    task = bar.add_task("evicting", total=None)

    def show_progress(done: Eviction) -> None:
        bar.update(task, completed=done.size_bytes, total=done.size_bytes + max(0, done.held_bytes - done.limit_bytes))

    with bar:
        done = evict_cache(settings, to, dry_run=dry_run, on_progress=show_progress)
    would = "would be " if dry_run else ""
    print_line(
        f"{done.features:,} features of {human_bytes(done.size_bytes)} {would}evicted, "
        f"{human_bytes(done.held_bytes)} {'would be ' if dry_run else ''}left"
    )
    if not done.reached:
        print_line(f"{done.needed:,} features are kept: pending or running work needs them", style="yellow")
        raise typer.Exit(1)


def check(
    repair: Annotated[bool, typer.Option("--repair", help="Make index and files agree.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare its checksum.")] = False,
    all_gone: Annotated[
        bool, typer.Option("--all-gone", help="Repair even if no file is left: check first that the disk is mounted.")
    ] = False,
    grace_minutes: Annotated[
        float, typer.Option(min=0, help="Ignore unindexed files younger than this number of minutes.")
    ] = GRACE_S / 60,
) -> None:
    """Check that the index of the feature cache and its files agree. Exit status 1: a problem remains."""
    settings = command_settings()
    with open_database(settings) as database:
        cache = open_cache(settings, database)
        with database.begin() as connection:
            total = cache_usage(connection, f"{cache.url}/").features
        bar = progress_bar()
        task = bar.add_task("checking", total=total or None)

        def show_progress(counts: CheckCounts) -> None:
            problems = counts.found.total()
            bar.update(task, completed=counts.rows, description=f"{counts.files:,} files, {problems:,} problems")

        checked = CacheCheck(
            database,
            cache,
            repair=repair,
            deep=deep,
            all_gone=all_gone,
            grace_s=grace_minutes * 60,
            on_progress=show_progress,
        )
        shown: list[tuple[str, ...]] = []
        with bar:
            for finding in checked.findings():
                if len(shown) < _SHOWN:
                    shown.append((finding.problem, finding.uri, finding.detail, "yes" if finding.repaired else "no"))
    _print_check(checked.counts, shown)
    if checked.counts.found != checked.counts.repaired:
        raise typer.Exit(1)


def rotate_key(
    forget_old: Annotated[
        bool,
        typer.Option("--forget-old", help="Accept no file of older keys without a row, because one has leaked."),
    ] = False,
) -> None:
    """Make a new secret key that signs the files of the cache. Older keys are still accepted."""
    settings = command_settings()
    with open_database(settings) as database:
        forgotten = rotate_cache_key(settings, database, forget_old=forget_old)
    print_line("runs that start now sign with the new key")
    if forgotten:
        print_line(f"{forgotten:,} older keys are forgotten; files with a row in the index stay in use")


def _print_check(counts: CheckCounts, shown: Sequence[tuple[str, ...]]) -> None:
    if shown:
        print_table(("problem", "file", "", "repaired"), shown)
        if counts.found.total() > len(shown):
            print_line(f"(the first {len(shown)} of {counts.found.total():,})")
        rows = [(problem, f"{count:,}", f"{counts.repaired[problem]:,}") for problem, count in counts.found.items()]
        print_line()
        print_table(("problem", "found", "repaired"), rows)
    print_line(f"{counts.rows:,} rows and {counts.files:,} files of {human_bytes(counts.size_bytes)} checked")
    if counts.left:
        print_line(f"{counts.left:,} were in use or too new to judge: check again later")
    if counts.unsigned:
        print_line(f"{counts.unsigned:,} files without a row have no MAC of this cache: no run uses them")
    if counts.foreign:
        print_line(f"{counts.foreign:,} other objects are under the same prefix and were ignored")
    if not counts.found:
        print_line("index and files agree")


def register(app: typer.Typer) -> None:
    about = "Show, shrink and check the feature cache, and rotate its key."
    group = typer.Typer(help=about, invoke_without_command=True, callback=show)
    group.command()(evict)
    group.command()(check)
    group.command("rotate-key")(rotate_key)
    app.add_typer(group, name="cache")
