"""Decoding returns exactly the requested frames in every format.

Each frame shows its number, so none can be mistaken for another. The generator of the clips knows the correct numbers.
"""

import random
from dataclasses import replace
from functools import cache

import pytest
from fixtures.clips import NumberedClip, constant_rate_truth, encode_numbers, read_number
from fixtures.formats import FORMATS, LONG_FORMATS
from fixtures.formats_field import FIELD_FORMATS
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from nightreel.domain import FrameBatch, SamplingPlan
from nightreel.media import decode_job
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.sampling import segments, timestamps
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

PLANS = ("uniform:8", "uniform:32", "fps:2:64", "keyframes:8")
BY_DECORD = {
    "h264_no_b_frames_mp4",
    "vp9_webm",
    "vp9_alt_ref_mkv",
    "vp9_odd_size_webm",
    "mpeg4_no_b_frames_mp4",
}


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=MediaLimits.from_settings(Settings(gif=True)), workers=1, timeout_s=60) as pool:
        yield pool


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory):
    """A function that makes the clip of a format once."""
    folder = tmp_path_factory.mktemp("formats")
    return cache(lambda name: (FORMATS | FIELD_FORMATS | LONG_FORMATS)[name](folder / name))


def _assert_exact(batch: FrameBatch, clip: NumberedClip, moments_s: list[float], probe: Probe) -> None:
    """Assert that moments and frames match, and that each frame's time is right within half an interval."""
    numbers = [read_number(frame) for frame in batch.frames_thwc]
    half_interval_s = 0.5 / probe.fps
    for number, pts_s in zip(numbers, batch.pts_s, strict=True):
        assert number is not None, f"the frame at {pts_s:.3f} s is a blend, or shows no number: {numbers}"
        assert any(number in clip.acceptable(moment) for moment in moments_s), (number, moments_s)
        assert abs(pts_s - clip.time_of(number)) < half_interval_s, (number, pts_s)
    for moment in moments_s:
        assert clip.acceptable(moment) & set(numbers), (moment, clip.acceptable(moment), numbers)
    assert not any(batch.flags), batch.flags


@pytest.mark.parametrize("name", FORMATS | FIELD_FORMATS)
def test_every_frame_of_every_plan_is_the_one_asked_for(pool, clip_of, name):
    clip = clip_of(name)
    probe = pool.probe(clip.path)
    assert probe.frame_count == len(clip.numbers)
    assert probe.duration_s == pytest.approx(clip.ends_s, abs=0.5 / probe.fps)
    (segment,) = segments(probe.duration_s, 30)
    for plan in map(SamplingPlan.parse, PLANS):
        batch = pool.decode(clip.path, probe=probe, plan=plan, segment=segment)
        _assert_exact(batch, clip, timestamps(plan, segment, keyframes_s=probe.keyframes_s), probe)
        assert batch.decoder == "pyav" or name in BY_DECORD, probe.decoder_reason


@pytest.mark.parametrize("name", sorted(BY_DECORD))
def test_decord_decodes_many_frames_of_a_run_where_it_is_proven(pool, clip_of, name):
    clip = clip_of(name)
    probe = pool.probe(clip.path)
    moments_s = [frame / 25 for frame in range(min(20, len(clip.numbers)))] * 4
    batch = pool.decode_moments(clip.path, probe=probe, moments_s=moments_s)
    assert batch.decoder == "decord", probe.decoder_reason
    _assert_exact(batch, clip, moments_s, probe)


@pytest.mark.parametrize("name", FORMATS | FIELD_FORMATS)
def test_moments_in_random_order_and_small_pictures_are_exact(pool, clip_of, name):
    clip, draw = clip_of(name), random.Random(name)
    probe = pool.probe(clip.path)
    moments_s = [draw.uniform(0, clip.ends_s) for _ in range(20)]
    batch = pool.decode_moments(clip.path, probe=probe, moments_s=moments_s, short_side=64)
    _assert_exact(batch, clip, moments_s, probe)
    assert min(batch.frames_thwc.shape[1:3]) == 64


@pytest.mark.parametrize("name", LONG_FORMATS)
def test_a_late_segment_is_exact_without_decoding_what_precedes_it(pool, clip_of, name):
    clip = clip_of(name)
    probe = pool.probe(clip.path)
    draw = random.Random(name)
    for moments_s in ([30.5, 31.1, 35.9], [2.0, 33.3], [draw.uniform(0, clip.ends_s) for _ in range(8)]):
        batch = pool.decode_moments(clip.path, probe=probe, moments_s=moments_s)
        _assert_exact(batch, clip, moments_s, probe)


@pytest.mark.parametrize("name", ["h264_open_gop_mp4", "vp9_alt_ref_mkv", "mpeg2_ts"])
def test_a_decode_job_too_long_to_send_starts_at_the_first_packet_and_is_exact(pool, clip_of, monkeypatch, name):
    monkeypatch.setattr(decode_job, "_MOST_PACKETS", 0)
    clip = clip_of(name)
    probe = replace(pool.probe(clip.path), decoder="pyav")
    moments_s = [3.3, 0.5, 2.0]
    _assert_exact(pool.decode_moments(clip.path, probe=probe, moments_s=moments_s), clip, moments_s, probe)


def test_anamorphic_pictures_come_in_their_display_shape(pool, tmp_path):
    for aspect, shape_hw in (("2", (48, 160)), ("1/2", (96, 80)), ("1", (96, 160))):
        path = tmp_path / f"{aspect.replace('/', '_')}.mp4"
        encode_numbers(path, range(10), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-vf", f"setsar={aspect}")
        probe = pool.probe(path)
        batch = pool.decode_moments(path, probe=probe, moments_s=[0.2])
        assert batch.frames_thwc.shape[1:3] == shape_hw
        assert (batch.source_hw, read_number(batch.frames_thwc[0])) == ((96, 160), 5)


encodings = st.fixed_dictionaries(
    {
        "suffix": st.sampled_from([".mp4", ".mov", ".mkv", ".ts", ".flv"]),
        "fps": st.sampled_from(["24000/1001", "24", "25", "30000/1001", "30", "60", "10", "7"]),
        "count": st.one_of(st.integers(1, 40), st.integers(300, 500)),
        "gop": st.integers(1, 90),
        "b_frames": st.integers(0, 5),
        "x264": st.fixed_dictionaries(
            {
                "open-gop": st.sampled_from([0, 1]),
                "ref": st.integers(1, 5),
                "b-pyramid": st.sampled_from(["none", "strict", "normal"]),
                "b-adapt": st.sampled_from([0, 1]),
                "weightp": st.sampled_from([0, 2]),
                "slices": st.integers(1, 3),
                "cabac": st.sampled_from([0, 1]),
                "intra-refresh": st.sampled_from([0, 0, 0, 1]),
            }
        ),
    }
)


@seed(20_240_613)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(encoding=encodings, data=st.data())
def test_any_h264_in_any_container_is_exact_at_any_moments(pool, tmp_path, encoding, data):
    path = tmp_path / f"clip{encoding['suffix']}"
    x264 = ":".join(f"{name}={value}" for name, value in encoding["x264"].items())
    encode_numbers(path, range(encoding["count"]), "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p",
                   "-bf", str(encoding["b_frames"]), "-g", str(encoding["gop"]), "-x264-params", x264,
                   fps=encoding["fps"], width=96, height=48)  # fmt: skip
    clip = constant_rate_truth(path, range(encoding["count"]), fps=encoding["fps"])
    probe = pool.probe(path)
    assert probe.frame_count == encoding["count"]
    moments_s = data.draw(st.lists(st.floats(0, clip.ends_s, exclude_max=True), min_size=1, max_size=12))
    batch = pool.decode_moments(path, probe=probe, moments_s=moments_s)
    _assert_exact(batch, clip, moments_s, probe)


def test_hdr_that_only_a_message_in_the_stream_tells_is_found(pool, tmp_path):
    path = tmp_path / "hlg.mp4"
    hlg = "log-level=none:atc-sei=18:colorprim=bt2020:transfer=bt2020-10:colormatrix=bt2020nc"
    encode_numbers(path, range(10), "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", hlg)
    assert pool.probe(path).hdr == "hlg"
