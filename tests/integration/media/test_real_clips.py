"""Every real video beside the checkout, good or bad, has the expected outcome."""

import csv
import json

import numpy as np
import pytest

from nightreel.domain import SamplingPlan
from nightreel.errors import PermanentError
from nightreel.media.probe import MediaLimits
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

pytestmark = pytest.mark.clips

# Two clips pass: ax_long_180p_av1.mp4 is odd but valid, ax_sample_with_invalid_nalu.mp4 lacks one frame of 30.
REASONS = {
    "ax_sample_fragmented_widevine.mp4": "encrypted",
    "ax_video_dovi_dav1_10.mp4": "no_decoder",
    "decord_corrupted.mp4": "damaged",
    "derived_truncated_no_moov.mp4": "no_index",
    "lerobot_clip_h264.mp4": "not_a_video",
    "moviepy_result.webm": "empty_file",
    "mp4parse_invalid_userdata.mp4": "media_data_missing",
    "mp4parse_no_timescale.mp4": "damaged",
    "nestegg_bug1480003.webm": "no_frames",
    "newtonscradle.gif": "animated_image",
    "pixeltable_bad_video.mp4": "not_a_video",
    "renamed_jpeg.mp4": "image_file",
    "tika_testMP4AudioOnly.mp4": "no_video_stream",
}
OTHER_STREAM = {"nasa_13013.mp4": {"width": 480, "height": 270, "frame_count": 390}}
PLAN = SamplingPlan.parse("uniform:8")


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=1, timeout_s=60) as pool:
        yield pool


def _rows(real_clips):
    with (real_clips / "MANIFEST.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_bad_clip_is_refused_with_its_own_reason(pool, real_clips):
    reasons = {}
    for path in sorted((real_clips / "bad").iterdir()):
        try:
            probe = pool.probe(path)
            pool.decode(path, probe=probe, plan=PLAN, segment=segments(probe.duration_s, 30)[0], short_side=224)
        except PermanentError as error:
            reasons[path.name] = error.reason if path.name in error.detail else f"unnamed {error}"
    assert reasons == REASONS


def test_one_broken_packet_of_thirty_costs_only_one_frame(pool, real_clips):
    path = real_clips / "bad" / "ax_sample_with_invalid_nalu.mp4"  # frame 27 is broken, no frame refers to it
    probe = pool.probe(path)
    every_frame = SamplingPlan.parse("uniform:30")
    batch = pool.decode(path, probe=probe, plan=every_frame, segment=segments(probe.duration_s, 30)[0], short_side=90)
    assert probe.damaged_packets == 1
    assert [number for number, flags in enumerate(batch.flags) if flags] == [26]


def test_every_good_clip_matches_the_manifest(pool, real_clips):
    for row in _rows(real_clips):
        if row["set"] != "good":
            continue
        probe = pool.probe(real_clips / "good" / row["file"])
        sideways = int(row["rotation"]) % 180 != 0
        width, height = int(row["width"]), int(row["height"])
        expected = {
            "width": height if sideways else width,
            "height": width if sideways else height,
            "frame_count": int(row["nframes_decoded"]),
        } | OTHER_STREAM.get(row["file"], {})
        assert {name: getattr(probe, name) for name in expected} == expected, row["file"]
        assert probe.codec == row["codec"]
        assert probe.rotation == int(row["rotation"]) % 360


def test_every_good_clip_yields_frames_without_a_flag(pool, real_clips):
    for path in sorted((real_clips / "good").iterdir()):
        probe = pool.probe(path)
        segment = segments(probe.duration_s, 30)[0]
        batch = pool.decode(path, probe=probe, plan=PLAN, segment=segment, short_side=224)
        assert batch.frames_thwc.shape[0] == 8, path.name
        assert min(batch.frames_thwc.shape[1:3]) == min(224, *batch.source_hw), path.name
        assert not any(batch.flags), path.name
        assert np.all(np.diff(batch.pts_s) > 0), path.name
        assert batch.frames_thwc.std() > 5, path.name  # a picture, not a single colour


def test_a_rotated_clip_is_decoded_upright(pool, real_clips):
    path = real_clips / "good" / "fire2.mp4"  # stored upside down; upright, the bright window is on top
    probe = pool.probe(path)
    batch = pool.decode(path, probe=probe, plan=PLAN, segment=segments(probe.duration_s, 30)[0], short_side=90)
    assert probe.rotation == 180
    assert batch.frames_thwc.shape[1:3] == (90, 160)


def test_hdr_is_tone_mapped_and_recorded(pool, real_clips):
    path = real_clips / "good" / "ax_sample_with_colr_mdcv_and_clli.mp4"
    probe = pool.probe(path)
    batch = pool.decode(path, probe=probe, plan=PLAN, segment=segments(probe.duration_s, 30)[0], short_side=90)
    assert probe.hdr == "pq"
    assert batch.decoder_version.endswith("tone-mapped")
    assert 30 < batch.frames_thwc.mean() < 100  # dusk over a forest: dark, not black


def test_the_probe_is_json(pool, real_clips):
    values = pool.probe(real_clips / "good" / "with-gps.mov").to_json()
    assert json.loads(json.dumps(values)) == values
    assert (values["codec"], values["rotation"], values["keyframes"]) == ("h264", 270, 4)
