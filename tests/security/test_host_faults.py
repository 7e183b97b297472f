"""A limit of the host ends no video: it waits, or goes back uncharged, and the message names the setting to change.

Each run is a real process with a real limit.
"""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fixtures.pipeline import IMPATIENT, Pipeline, make_clip

from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.storage.local import LocalStorage

# Sets a limit of the operating system in the process, then runs the command.
_LIMITED = """
import os, resource, sys
name, value = sys.argv[1], int(sys.argv[2])
if name == "MEMORY":
    import nightreel.stages.decode as decode
    def exhausted(*args, **kwargs):
        bytearray(1 << 60)
    decode.Decoding._decode = exhausted
else:
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
del sys.argv[1:3]
"""


@pytest.fixture
def limited() -> Callable[..., tuple[int, str]]:
    """`limited(pipeline, "FSIZE", 1000)`: analyse under a limit; returns the exit status and the output."""

    def run(pipeline: Pipeline, name: str, value: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", _LIMITED + IMPATIENT, name, str(value), "analyze", pipeline.source],
            env={**os.environ, **pipeline.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
        return done.returncode, " ".join(done.stdout.split())

    return run


def pad(clip: Path, size: int) -> None:
    """Make a file larger, with a box that players skip."""
    with clip.open("ab") as file:
        file.write(struct.pack(">I4s", size, b"free") + bytes(size - 8))


def uncharged(pipeline: Pipeline) -> dict[str, int]:
    """The videos that are not done, by state; each must have all its tries left, and no crash."""
    rows = pipeline.rows("SELECT status, attempts, crashes, suspect FROM nightreel.analyses WHERE status <> 'done'")
    assert all((row.attempts, row.crashes, row.suspect) == (0, 0, False) for row in rows), rows
    return {row.status: sum(other.status == row.status for other in rows) for row in rows}


def test_a_file_beyond_the_file_size_limit_goes_back_and_the_other_videos_are_done(make_pipeline, limited, clips):
    pad(make_clip(clips / "large.mp4", 9), 8 << 20)
    pipeline = make_pipeline(clips, NIGHTREEL_MAX_SAME_FAILURES="1")
    status, said = limited(pipeline, "FSIZE", 4 << 20)
    assert status == 1, said
    assert "ulimit -f" in said
    assert "NIGHTREEL_MAX_BYTES" in said
    assert uncharged(pipeline) == {"pending": 1}
    pipeline.end_waits()
    assert pipeline.analyze().videos == {"done": 1}, "no hand is needed once the limit is gone"


def test_a_process_without_memory_charges_no_video(make_pipeline, limited, clips):
    pipeline = make_pipeline(clips, NIGHTREEL_MAX_SAME_FAILURES="1")
    status, said = limited(pipeline, "MEMORY", 0)
    assert status == 1, said
    assert "NIGHTREEL_CHUNK_SEGMENTS" in said
    assert uncharged(pipeline) == {"pending": 3}
    pipeline.end_waits()
    assert pipeline.analyze().videos == {"done": 3}


def test_a_process_without_descriptors_does_not_blame_the_file_that_it_cannot_open(clips):
    storage = LocalStorage(clips)
    uri = f"{storage.url}/1.mp4"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 20, hard)
        )
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        for read in (storage.check, lambda: storage.read(uri), lambda: storage.publish("a", b"x")):
            with pytest.raises(TransientError, match="ulimit -n") as caught:
                read()
            assert caught.value.reason is Reason.TOO_MANY_OPEN_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


def test_a_full_disk_of_the_spool_charges_no_video(make_pipeline, clips, small_disk):
    for clip in clips.iterdir():
        pad(clip, 64 << 10)
    pipeline = make_pipeline(
        clips, NIGHTREEL_MAX_SAME_FAILURES="1", NIGHTREEL_WORK_DIR=str(small_disk), NIGHTREEL_CACHE_URL=_cache(clips)
    )
    process = pipeline.start("analyze", pipeline.source, "--json", small_disk=small_disk)
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 1, output
    assert "NIGHTREEL_SPOOL_MIB" in output
    assert "NIGHTREEL_WORK_DIR" in output
    assert uncharged(pipeline) == {"pending": 3}
    pipeline.end_waits()
    assert pipeline.analyze().videos == {"done": 3}


def _cache(clips: Path) -> str:
    return (clips.parent / "cache").as_uri()
