"""A preview shows at each moment of its ranges what the video shows then, in all formats that browsers do not play."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from fixtures import hostile_decoder
from fixtures.clips import NumberedClip, read_number, run_ffmpeg
from fixtures.formats import FORMATS, LONG_FORMATS

from nightreel.errors import PermanentError
from nightreel.media.preview_plan import LONGEST_SIDE_PX, MOST_BYTES
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings

LIMITS = MediaLimits.from_settings(Settings())
NOT_PLAYED = (
    "hevc_mp4",
    "hevc_10_bit_ts",
    "h264_start_at_10_s_ts",
    "h264_avi",
    "mpeg4_avi",
    "mpeg4_b_frames_avi",
    "mpeg2_mpg",
    "wmv2_wmv",
    "prores_mov",
    "h264_444_mp4",
    "h264_rotated_90_mp4",
    "h264_variable_rate_mkv",
)


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=60) as pool:
        yield pool


def pictures(preview: bytes) -> list[tuple[float, np.ndarray]]:
    """Time and picture of each frame."""
    with av.open(io.BytesIO(preview)) as container:
        assert [(stream.type, stream.codec.canonical_name) for stream in container.streams] == [("video", "vp8")]
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def at(shown: list[tuple[float, np.ndarray]], moment_s: float) -> np.ndarray:
    """What a player shows then."""
    return [picture for time_s, picture in shown if time_s <= moment_s][-1]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(((one.astype(float) - other) ** 2).mean())
    return 10 * np.log10(255**2 / error) if error else 99.0


@pytest.mark.parametrize("name", NOT_PLAYED)
def test_each_moment_shows_the_frame_of_the_video(pool, tmp_path, name: str):
    clip: NumberedClip = FORMATS[name](tmp_path / name)
    probe = pool.probe(clip.path)
    looked = [clip.times_s[number] for number in (37, 38, 71) if number < len(clip.times_s)]
    made = pool.encode_preview(clip.path, probe=probe, ranges=[(0.52, 1.8), (2.4, 3.2)], moments_s=looked)
    shown = pictures(made)
    inside = [time_s for time_s, picture in shown if read_number(picture) is not None]
    assert len(inside) >= 12
    for time_s in inside:
        assert read_number(at(shown, time_s)) in clip.acceptable(time_s + 0.001), time_s
    for time_s in looked:
        if 0.52 <= time_s < 1.8 or 2.4 <= time_s < 3.2:
            assert read_number(at(shown, time_s + 0.001)) in clip.acceptable(time_s), "frames of the model are exact"
    for moment_s in (0.1, 0.5, 2.0, 2.3, 3.3):
        assert at(shown, moment_s).max() < 40, "dark where the preview has nothing"


@pytest.mark.parametrize("name", ["long_hevc_mkv", "long_mpeg4_b_frames_avi", "long_h264_ts", "long_wmv2_wmv"])
def test_the_pictures_look_like_the_exact_frames_and_the_clock_is_that_of_the_video(pool, tmp_path, name: str):
    clip = LONG_FORMATS[name](tmp_path / name)
    probe = pool.probe(clip.path)
    made = pool.encode_preview(clip.path, probe=probe, ranges=[(20.0, 22.0), (30.0, 31.0)])
    shown = pictures(made)
    for moment_s in (20.0, 20.5, 21.875, 30.25):
        (frame,) = pool.decode_moments(clip.path, probe=probe, moments_s=[moment_s]).frames_thwc
        assert psnr(at(shown, moment_s), frame) > 25, moment_s
        assert psnr(at(shown, moment_s + 0.6), frame) < 25 or moment_s == 21.875, "the test tells frames apart"
    with av.open(io.BytesIO(made)) as container:
        assert container.duration == pytest.approx(probe.duration_s * 1e6, abs=2000), "as long as the video"


def test_a_large_video_becomes_small(pool, tmp_path):
    path = tmp_path / "large.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=30:duration=3", "-c:v", "libx265", "-preset",
               "ultrafast", "-x265-params", "log-level=none", str(path))  # fmt: skip
    probe = pool.probe(path)
    made = pool.encode_preview(path, probe=probe, ranges=[(0.0, 3.0)])
    shown = pictures(made)
    assert shown[0][1].shape == (270, LONGEST_SIDE_PX, 3)
    assert len(shown) == 24
    assert len(made) < 600_000
    (frame,) = pool.decode_moments(path, probe=probe, moments_s=[1.5], short_side=270).frames_thwc
    assert psnr(at(shown, 1.5), frame) > 25


HOSTILE = f"""
    def decode_page(file, job, frames):
        reply(json.dumps(said(job)).encode(), b"<!doctype html><script>alert(1)</script>")

    def decode_large(file, job, frames):
        reply(json.dumps(said(job)).encode(), b"\\x1a\\x45\\xdf\\xa3" + bytes({MOST_BYTES}))

    def decode_claims(file, job, frames):
        reply(b"{{}}", claim=struct.pack("<QQ", 2, 2**62))

    def decode_frames(file, job, frames):
        reply(json.dumps(said(job) | {{"ticks": []}}).encode(), b"\\x1a\\x45\\xdf\\xa3")

    def said(job):
        flags = [[] for _ in job.ticks]
        return {{"ticks": job.ticks, "flags": flags, "decoder": "pyav", "version": "1"}}
"""


@pytest.mark.parametrize("name", ["page", "large", "claims", "frames"])
def test_a_false_preview_is_the_lie_of_its_video(monkeypatch, tmp_path, name: str):
    hostile_decoder.install(monkeypatch, tmp_path, HOSTILE)
    clip = FORMATS["mpeg4_no_b_frames_mp4"](tmp_path / name)
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=60) as pool:
        probe = pool.probe(clip.path)
        with pytest.raises(PermanentError) as caught:
            pool.encode_preview(clip.path, probe=probe, ranges=[(0.0, 1.0)])
    assert caught.value.reason == Reason.DECODER_LIED


def test_an_installation_without_the_encoder_says_so(monkeypatch, tmp_path):
    before = """
from nightreel.media import webm
webm._ENCODER = "libnone"
"""
    hostile_decoder.install(monkeypatch, tmp_path, "", before=before)
    clip = FORMATS["mpeg4_avi"](tmp_path / "clip")
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=60) as pool:
        probe = pool.probe(clip.path)
        with pytest.raises(PermanentError, match="libnone") as caught:
            pool.encode_preview(clip.path, probe=probe, ranges=[(0.0, 1.0)])
    assert caught.value.reason == Reason.NO_ENCODER
