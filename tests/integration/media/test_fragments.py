"""Decoding returns exactly the requested frames of fragmented MP4 files, however their packets are laid out."""

import random
import subprocess
from functools import cache

import imageio_ffmpeg
import numpy as np
import pytest
from fixtures.clips import encode_numbers, read_number
from fixtures.fragment_layouts import LAYOUTS, FragmentLayout
from fixtures.fragments import write_fragments
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from nightreel.domain import SamplingPlan
from nightreel.media.probe import MediaLimits
from nightreel.media.sampling import segments, timestamps
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

FPS, COUNT = 25, 350
_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "30")
SOURCES = {
    "h264_no_b_frames": (*_X264, "-bf", "0"),
    "h264_b_frames": (*_X264, "-bf", "3"),
    "hevc_b_frames": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=30:bframes=3"),
    "mpeg4_no_b_frames": ("-c:v", "mpeg4", "-g", "30", "-q:v", "4"),
}
CASES = [(source, layout) for source in ("h264_no_b_frames", "h264_b_frames") for layout in LAYOUTS] + [
    (source, layout) for source in ("hevc_b_frames", "mpeg4_no_b_frames") for layout in ("several_runs", "everything")
]
layouts = st.builds(
    FragmentLayout,
    samples=st.integers(1, 40),
    runs=st.integers(1, 5),
    track_fragments=st.integers(1, 3),
    base=st.sampled_from(["moof", "explicit", "implicit"]),
    flags=st.sampled_from(["sample", "tfhd", "trex"]),
    durations=st.sampled_from(["sample", "tfhd", "trex"]),
    decode_times=st.booleans(),
    negative=st.booleans(),
    edit=st.sampled_from(["none", "start"]),
    reverse_data=st.booleans(),
    segment_index=st.booleans(),
    random_access=st.booleans(),
    sound=st.booleans(),
).filter(lambda layout: layout.decode_times or layout.track_fragments == 1 or not layout.segment_index)
# ffmpeg gives each track fragment without a tfdt the time of its movie fragment in the sidx.


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=1, timeout_s=60) as pool:
        yield pool


@pytest.fixture(scope="module")
def source_of(tmp_path_factory):
    """A function that encodes a source once."""
    folder = tmp_path_factory.mktemp("sources")

    @cache
    def encode(name):
        path = folder / f"{name}.mp4"
        encode_numbers(path, range(COUNT), *SOURCES[name], fps=str(FPS), width=96, height=48)
        return path

    return encode


@cache
def _shown_by_ffmpeg(path):
    """(milliseconds after the first frame, checksum of the picture) of each frame, decoded from the start."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", path, "-map", "0:v", "-fps_mode",
               "passthrough", "-enc_time_base", "1:1000", "-f", "framemd5", "-"]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    return [(int(row[2]) - int(rows[0][2]), row[5]) for row in rows]


def _assert_exact(pool, path, moments_s):
    probe = pool.probe(path)
    assert (probe.frame_count, probe.fps) == (COUNT, pytest.approx(FPS))
    batch = pool.decode_moments(path, probe=probe, moments_s=moments_s)
    expected = sorted({int(moment * FPS) for moment in moments_s})
    assert [read_number(frame) for frame in batch.frames_thwc] == expected, probe.decoder_reason
    np.testing.assert_allclose(batch.pts_s, np.array(expected) / FPS, atol=0.001)
    assert not any(batch.flags)


@pytest.mark.parametrize(("source", "layout"), CASES)
def test_ffmpeg_shows_the_frames_of_the_source_whatever_the_layout(source_of, tmp_path, source, layout):
    path = tmp_path / "clip.mp4"
    write_fragments(path, source_of(source), LAYOUTS[layout])
    assert _shown_by_ffmpeg(path) == _shown_by_ffmpeg(source_of(source))


@pytest.mark.parametrize(("source", "layout"), CASES)
def test_every_sampled_frame_of_every_layout_is_the_one_asked_for(pool, source_of, tmp_path, source, layout):
    path = tmp_path / "clip.mp4"
    write_fragments(path, source_of(source), LAYOUTS[layout])
    (segment,) = segments(COUNT / FPS, 30)
    draw = random.Random(f"{source} {layout}")
    middle_s = 0.5 / FPS
    _assert_exact(pool, path, [moment + 0.001 for moment in timestamps(SamplingPlan.parse("uniform:8"), segment)])
    _assert_exact(pool, path, [draw.randrange(COUNT) / FPS + middle_s for _ in range(12)])
    _assert_exact(pool, path, [number / FPS + middle_s for number in (COUNT - 41, COUNT - 1)])


@seed(20_261_126)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=layouts, source=st.sampled_from(sorted(SOURCES)), data=st.data())
def test_any_layout_is_exact_at_any_moments(pool, source_of, tmp_path, layout, source, data):
    path = tmp_path / "clip.mp4"
    write_fragments(path, source_of(source), layout)
    numbers = data.draw(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=12))
    _assert_exact(pool, path, [number / FPS + 0.5 / FPS for number in numbers])
