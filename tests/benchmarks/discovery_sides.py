"""The sides of bench_discovery. Each runs in its own process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil


def night(source: str) -> dict[str, Any]:
    """A whole run of the flow with nothing new."""
    from nightreel.cli.analyze import run
    from nightreel.options import AnalyzeOptions, settings_for

    summary = run(options := AnalyzeOptions(source=source), settings_for(options), quiet=True)
    assert summary.listing.known == summary.listing.listed, summary.headline
    return {"listed": summary.listing.listed, "work": summary.work}


def bare_listing(source: str) -> dict[str, Any]:
    """List the keys as any script does: botocore's paginator, page by page."""
    import botocore.session

    from nightreel.settings import load_settings

    bucket = source.removeprefix("s3://")
    client = botocore.session.Session().create_client("s3", endpoint_url=load_settings().s3_endpoint_url)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {"listed": sum(len(page["Contents"]) for page in pages)}


def discovery(source: str, database_url: str) -> dict[str, Any]:
    """Only listing and anti-join: seconds of each page's anti-join, memory growth after the first page."""
    from nightreel.database.connection import Database
    from nightreel.database.discovery import ListingFilter, PageCounts, discover_page
    from nightreel.settings import load_settings
    from nightreel.storage import open_storage

    database, process = Database(database_url), psutil.Process()
    counts, seconds, before = PageCounts(), [], 0
    for page in open_storage(source, load_settings()).list_pages():
        started = time.perf_counter()
        with database.begin() as connection:
            counts += discover_page(connection, page, admit=ListingFilter(), recipe_id=1, run_id=1)
        seconds.append(time.perf_counter() - started)
        before = before or process.memory_info().rss
    peak_kib = next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return {
        "listed": counts.listed,
        "new": counts.new,
        "page_s": seconds,
        "growth_mib": peak_kib / 1024 - before / 2**20,
    }
