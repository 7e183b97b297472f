"""The sandbox survives what hostile files do to a decode process, and reports it."""

import os
import signal
import threading
import time
from contextlib import suppress

import psutil
import pytest
from fixtures.clips import run_ffmpeg

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


def _decoder() -> psutil.Process:
    """The only decode process of this test's process."""
    (server,) = [child for child in psutil.Process().children() if "decoder_process" in " ".join(child.cmdline())]
    (decoder,) = server.children()
    return decoder


def test_a_hanging_process_is_killed_at_its_timeout_and_replaced(clip):
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=1.0) as pool:
        pool.probe(clip)
        hung = _decoder()
        hung.suspend()
        started = time.monotonic()
        with pytest.raises(PermanentError) as caught:
            pool.probe(clip)
        assert time.monotonic() - started < 1.5
        assert caught.value.reason == "decode_timeout"
        assert "NIGHTREEL_DECODE_TIMEOUT_S=1" in caught.value.detail
        assert not hung.is_running()
        assert pool.probe(clip).frame_count == 100


def test_a_crashed_process_costs_one_error_and_is_replaced(pool, clip):
    pool.probe(clip)
    _decoder().send_signal(signal.SIGSEGV)
    with pytest.raises(PermanentError) as caught:
        pool.probe(clip)
    assert caught.value.reason == "decoder_crashed"
    assert "SIGSEGV" in caught.value.detail
    assert pool.probe(clip).frame_count == 100


def test_a_process_ended_from_outside_is_a_transient_error(pool, clip):
    pool.probe(clip)
    _decoder().send_signal(signal.SIGTERM)
    with pytest.raises(TransientError) as caught:
        pool.probe(clip)
    assert caught.value.reason == "decoder_killed"
    assert pool.probe(clip).frame_count == 100


def test_a_fork_server_that_died_is_started_again(pool, clip):
    pool.probe(clip)
    decoder = _decoder()
    server = decoder.parent()
    server.kill()
    _, alive = psutil.wait_procs([server, decoder], timeout=10)
    assert not alive
    with suppress(TransientError):  # this call may only notice the death; the next one gets a new server
        pool.probe(clip)
    assert pool.probe(clip).frame_count == 100
    assert _decoder().parent().pid != server.pid


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
        assert len(psutil.Process(_decoder_server().pid).children()) <= 2


def _decoder_server() -> psutil.Process:
    (server,) = [child for child in psutil.Process().children() if "decoder_process" in " ".join(child.cmdline())]
    return server


def test_a_closed_pool_leaves_no_process(clip):
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        pool.probe(clip)
        decoder = _decoder()
        server = decoder.parent()
    deadline = time.monotonic() + 5
    while decoder.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not decoder.is_running()
    assert not server.is_running()
    with pytest.raises(TransientError) as caught:
        pool.probe(clip)
    assert caught.value.reason == "decoder_pool_closed"


def test_variables_of_the_pipeline_do_not_reach_a_decode_process(pool, clip, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-decoders")
    pool.probe(clip)
    assert "AWS_SECRET_ACCESS_KEY" not in _decoder().environ()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "not-for-decoders"
