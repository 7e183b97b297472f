"""Every file from the field beside the checkout gives the frames that ffmpeg gives, decoding from the start."""

from pathlib import Path

import pytest
from truth.check_media import check_file

from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

pytestmark = pytest.mark.clips

_FIELD = Path(__file__).parents[4] / "shared" / "field"

# Frames and duration in seconds, from how each file was made.
EXPECTED = {
    "cctv.dav": (150, 6.0),
    "clap.mp4": (150, 6.0),
    "concat_20h.ts": (300, 12.0),
    "concat_off.ts": (300, 12.0),
    "concat_same.ts": (300, 12.0),
    "crop.mkv": (150, 6.0),
    "flv_absurd_duration.flv": (150, 6.0),
    "hflip.mp4": (150, 6.0),
    "midgop.ts": (500, 20.0),
    "real_Sony_A7M3.mts": (13, 0.52),
    "reg_frag2s_trun30.mp4": (300, 10.0),
    "rot90_hflip.mp4": (150, 6.0),
    "sei_truncated.mp4": (150, 6.0),
}


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=1, timeout_s=60) as pool:
        yield pool


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_from_the_field_gives_the_frames_of_ffmpeg_without_a_flag(pool, name):
    path = _FIELD / name
    if not path.exists():
        pytest.skip("no folder ../shared/field with real videos beside the checkout")
    summary, found = check_file(pool, path)
    assert found == []
    frames, duration_s = EXPECTED[name]
    probe = pool.probe(path)
    assert (probe.frame_count, probe.duration_s) == (frames, pytest.approx(duration_s, abs=0.05))
    assert "0 of 12 flagged" in summary
