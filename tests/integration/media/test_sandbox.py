"""The sandbox survives what hostile files do to a decode process, and reports it."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fixtures import hostile_decoder
from fixtures.clips import run_ffmpeg
from fixtures.processes import running_children

from nightreel.domain import SamplingPlan, Segment
from nightreel.errors import PermanentError, TransientError
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

LIMITS = MediaLimits.from_settings(Settings())
PLAN = SamplingPlan.parse("uniform:4")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4", "-c:v", "libx264", "-threads", "1",
               "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path))  # fmt: skip
    return path


@pytest.fixture
def pool():
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        yield pool


def _copy(clip, name):
    path = clip.with_name(name)
    path.write_bytes(clip.read_bytes())
    return path


HANG_AND_CRASH = """
    def hang(file):
        time.sleep(3600)

    def spin(file):
        while True:
            pass

    def crash(file):
        ctypes.string_at(0)

    def bus(file):
        LIBC.mmap.restype = ctypes.c_void_p
        beyond_its_end = ctypes.c_long(64 << 20)
        ctypes.string_at(LIBC.mmap(None, ctypes.c_size_t(4096), 1, 1, file.fd, beyond_its_end), 1)

    def abort(file):
        os.abort()

    def leave(file):
        os._exit(3)
"""


@pytest.mark.parametrize("name", ["hang", "spin"])
def test_a_hanging_process_is_killed_at_its_timeout(monkeypatch, tmp_path, clip, name):
    hostile_decoder.install(monkeypatch, tmp_path, HANG_AND_CRASH)
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=1.0) as pool:
        pool.probe(clip)
        started = time.monotonic()
        with pytest.raises(PermanentError) as caught:
            pool.probe(_copy(clip, f"{name}.mp4"))
        assert time.monotonic() - started < 2.5
        assert caught.value.reason == "decode_timeout"
        assert "NIGHTREEL_DECODE_TIMEOUT_S=1" in caught.value.detail
        assert not _server().children()
        assert pool.probe(clip).frame_count == 100


@pytest.mark.parametrize(
    ("name", "how"), [("crash", "SIGSEGV"), ("bus", "SIGBUS"), ("abort", "SIGABRT"), ("leave", "exit code 3")]
)
def test_a_crashed_process_costs_one_error(monkeypatch, tmp_path, clip, name, how):
    hostile_decoder.install(monkeypatch, tmp_path, HANG_AND_CRASH)
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        with pytest.raises(PermanentError) as caught:
            pool.probe(_copy(clip, f"{name}.mp4"))
        assert caught.value.reason == "decoder_crashed"
        assert how in caught.value.detail
        assert pool.probe(clip).frame_count == 100


def test_a_process_ended_from_outside_is_a_transient_error(monkeypatch, tmp_path, clip):
    hostile_decoder.install(monkeypatch, tmp_path, HANG_AND_CRASH)
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool, ThreadPoolExecutor(1) as threads:
        pool.probe(clip)
        before = _server().children()
        probing = threads.submit(pool.probe, _copy(clip, "hang.mp4"))
        while not (started := [child for child in _server().children() if child not in before]):
            time.sleep(0.01)
        started[0].send_signal(signal.SIGTERM)
        with pytest.raises(TransientError) as caught:
            probing.result()
        assert caught.value.reason == "decoder_killed"
        assert pool.probe(clip).frame_count == 100


def test_a_fork_server_that_died_is_started_again(pool, clip):
    pool.probe(clip)
    server = _server()
    program = server.parent()
    program.kill()
    _, alive = psutil.wait_procs([server, program], timeout=10)
    assert not alive
    with suppress(TransientError):  # this call may only notice the death; the next one gets a new server
        pool.probe(clip)
    assert pool.probe(clip).frame_count == 100
    assert _server().pid != server.pid


def _decode_two_seconds(pool, path):
    return pool.decode(path, probe=pool.probe(path), plan=PLAN, segment=Segment(0, 0.0, 2.0))


def test_a_picture_too_large_for_the_address_space_fails_as_decode_memory(tmp_path):
    path = tmp_path / "large.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=size=8192x4320:rate=1:duration=2", "-c:v", "libx264", "-threads", "1",
               "-preset", "ultrafast", str(path))  # fmt: skip
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=60, memory_bytes=600 * 2**20) as pool:
        with pytest.raises(PermanentError) as caught:
            _decode_two_seconds(pool, path)
    assert caught.value.reason == "decode_memory"


def test_many_threads_share_the_pool(clip):
    with DecoderPool(limits=LIMITS, workers=2, timeout_s=60) as pool:
        probe = pool.probe(clip)
        shapes = []

        def decode():
            batch = pool.decode(clip, probe=probe, plan=PLAN, segment=Segment(0, 0.0, 4.0), short_side=120)
            shapes.append(batch.frames_thwc.shape)

        threads = [threading.Thread(target=decode) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shapes == [(4, 120, 160, 3)] * 8
        assert len(_server().children()) <= 2


def _server() -> psutil.Process:
    """The process that forks decoder processes: the only child of the program that this test's process started."""
    (program,) = running_children("fork_server_program")
    (server,) = program.children()
    return server


def test_a_closed_pool_leaves_no_process(clip):
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        pool.probe(clip)
        server = _server()
        program = server.parent()
    assert not server.is_running()
    assert not program.is_running()
    with pytest.raises(TransientError) as caught:
        pool.probe(clip)
    assert caught.value.reason == "decoder_pool_closed"


def test_variables_of_the_pipeline_do_not_reach_a_decoder_process(monkeypatch, tmp_path, clip):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-decoders")
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        def tells(file):
            tell(sorted(os.environ))
    """,
    )
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool, pytest.raises(PermanentError) as caught:
        pool.probe(_copy(clip, "tells.mp4"))
    assert "OMP_NUM_THREADS" in caught.value.detail
    assert "AWS_SECRET_ACCESS_KEY" not in caught.value.detail
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "not-for-decoders"


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(pool, tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(PermanentError, match="not a regular file") as caught:
            pool.probe(path)
        assert caught.value.reason == "not_a_video"
    with pytest.raises(TransientError, match=r"gone\.mp4 cannot be read from the disk") as caught:
        pool.probe(tmp_path / "gone.mp4")
    assert caught.value.reason == "file_unreadable"
