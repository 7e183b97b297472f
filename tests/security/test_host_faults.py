"""A limit of the host ends no video: it waits, or goes back uncharged, and the message names the setting to change.

Each run is a real process with a real limit.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from fixtures import hostile_decoder
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


# A decoder that is slow at each file named victim.mp4, and that says so with its name.
_SLOW = """
    from nightreel.media import decoding

    def decode_victim(file, job, frames_thwc):
        LIBC.prctl(15, b"victim")
        time.sleep(1.5)
        return decoding.decode(file, job, frames_thwc)
"""


@contextmanager
def killing_victims(most: int, number: signal.Signals) -> Iterator[list[int]]:
    """Kill the first `most` decoder processes of victim.mp4. Yields their process ids."""
    killed, stop = list[int](), threading.Event()

    def kill() -> None:
        while not stop.wait(0.02) and len(killed) < most:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if process.name() == "victim" and process.pid not in killed:
                        killed.append(process.pid)
                        process.send_signal(number)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def victims(make_pipeline, clips, tmp_path, monkeypatch) -> Pipeline:
    (clips / "1.mp4").rename(clips / "victim.mp4")
    hostile_decoder.install(monkeypatch, tmp_path, _SLOW)
    monkeypatch.setattr("nightreel.stages.write._HOST_WAIT_S", 0.1)
    monkeypatch.setattr("nightreel.stages.write._FIRST_WAIT_S", 0.1)
    return make_pipeline(clips)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_three_decoders_killed_from_outside_charge_their_video_with_nothing(victims, number):
    with killing_victims(3, number) as killed:
        summary = victims.analyze()
    assert len(killed) == 3
    assert summary.videos == {"done": 3, "deferred": 3}
    assert [tuple(row) for row in victims.rows("SELECT status, attempts FROM nightreel.analyses")] == [("done", 1)] * 3


def test_a_video_whose_decoders_are_always_killed_fails_within_one_run(victims):
    with killing_victims(100, signal.SIGKILL) as killed:
        summary = victims.analyze()
    assert summary.videos == {"done": 2, "deferred": 3, "retried": 2, "quarantined": 1}
    (row,) = victims.rows("SELECT uri, reason, detail FROM reporting.failures")
    assert (row.uri.rpartition("/")[2], row.reason) == ("victim.mp4", "decoder_killed")
    assert "NIGHTREEL_DECODE_WORKERS" in row.detail
    assert len(killed) == 6, "three without a charge, then its three tries"


def _cache(clips: Path) -> str:
    return (clips.parent / "cache").as_uri()
