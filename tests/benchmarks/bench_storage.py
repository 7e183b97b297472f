"""Listing and fetching beside code without this library. `make bench-storage`.

The server is Swift in one process on this machine, so all sides mostly wait for it. They differ in memory and in
checks: ours hashes the bytes and also verifies them against the ETag.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Report, Side, compare, in_subprocess, take_turns
from fixtures.swift import running_swift

_LISTED = 100_000
_FETCHED_BYTES = 512 << 20


def main(rounds: int = 5) -> None:
    report = Report("storage", versions=("s3fs", "aiobotocore", "aiohttp", "swift"))
    with tempfile.TemporaryDirectory() as directory, running_swift(Path(directory)) as server:
        os.environ.update(server.environment())
        client = server.client()
        client.create_bucket(Bucket="listed")
        server.fill("listed", _LISTED)
        client.create_bucket(Bucket="fetched")
        with tempfile.TemporaryFile() as file:  # not in memory: a child's peak starts at its parent's memory
            for _ in range(_FETCHED_BYTES >> 20):
                file.write(os.urandom(1 << 20))
            file.seek(0)
            client.put_object(Bucket="fetched", Key="large.mp4", Body=file)

        runs = take_turns(
            _sides("s3://listed", ours="our_listing", paginator="bare_paginator", find="s3fs_find"),
            rounds=rounds,
            agree=int.__eq__,
        )
        name = f"list {_LISTED:,} objects"
        report.add(compare(name, runs, other="paginator", metric="wall_s", at_most=1.2))
        report.add(compare(f"{name}: memory", runs, other="find", metric="peak_rss_mib", at_most=0.7))

        runs = take_turns(
            _sides("s3://fetched", ours="our_fetch", get_file="s3fs_get_file", stream="plain_stream"),
            rounds=rounds,
            agree=str.__eq__,
        )
        name = f"fetch {_FETCHED_BYTES >> 20} MiB"
        notes = {
            "get_file": "neither resumes nor verifies",
            "stream": "no MD5, no resuming; without a network, parallel ranges are no faster than one stream",
        }
        for other, note in notes.items():
            report.add(compare(f"{name}, hashed", runs, other=other, metric="wall_s", at_most=1.1, note=note))
        report.add(compare(f"{name}: memory", runs, other="get_file", metric="peak_rss_mib", at_most=0.5))
    report.finish()


def _sides(url: str, **functions: str) -> dict[str, Side]:
    return {name: in_subprocess(f"benchmarks.storage_sides:{function}", url) for name, function in functions.items()}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
