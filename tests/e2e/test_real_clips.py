"""Real videos: every good one is done with all its answers, every bad one fails with its own reason."""

from __future__ import annotations

import pytest
from fixtures.pipeline import PROMPT_COUNT

REASONS = {
    "decord_corrupted.mp4": "damaged",
    "pixeltable_bad_video.mp4": "not_a_video",
    "moviepy_result.webm": "empty_file",
    "tika_testMP4AudioOnly.mp4": "no_video_stream",
    "lerobot_clip_h264.mp4": "not_a_video",
    "nestegg_bug1480003.webm": "no_frames",
    "ax_sample_fragmented_widevine.mp4": "encrypted",
    "mp4parse_invalid_userdata.mp4": "media_data_missing",
    "mp4parse_no_timescale.mp4": "damaged",
    "renamed_jpeg.mp4": "image_file",
    "newtonscradle.gif": "animated_image",
    "ax_video_dovi_dav1_10.mp4": "no_decoder",
    "derived_truncated_no_moov.mp4": "no_index",
}
VALID_THOUGH_EXTREME = "ax_long_180p_av1.mp4"
ONE_BAD_FRAME = "ax_sample_with_invalid_nalu.mp4"


@pytest.mark.clips
def test_good_clips_are_done_and_each_bad_clip_has_its_own_reason(make_pipeline, real_clips):
    pipeline = make_pipeline(real_clips)
    summary = pipeline.analyze()
    statuses = pipeline.statuses()
    good = [path.name for path in (real_clips / "good").iterdir()]
    assert {name: statuses[name] for name in good} == dict.fromkeys(good, ("done", None))
    assert statuses[VALID_THOUGH_EXTREME] == ("done", None)
    assert statuses[ONE_BAD_FRAME] == ("done", None)
    failed = {name: reason for name, (status, reason) in statuses.items() if status == "failed"}
    assert failed == REASONS
    details = [row.detail for row in pipeline.rows("SELECT detail FROM reporting.failures")]
    assert len(set(details)) == len(REASONS), "every failure has its own detail"
    # A model of noise ties now and then.
    assert pipeline.value("SELECT count(*) FROM nightreel.answers WHERE state IN ('measured', 'unmeasured')") == (
        summary.segments * PROMPT_COUNT
    )
