"""Facts that the decoder found about a file are stored in the database."""

import pytest
from fixtures.clips import encode_numbers
from PIL import Image

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


def test_the_database_holds_the_media_facts_and_the_sampled_frames_of_a_file(make_pipeline, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    encode_numbers(videos / "upright.mp4", range(50), *X264, "-bf", "0", fps="10")
    encode_numbers(videos / "whole.avi", range(75), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", fps="25")
    pipeline = make_pipeline(videos)
    assert pipeline.analyze().succeeded == 2
    facts = {row.uri.rsplit("/", 1)[1]: row for row in pipeline.rows("SELECT * FROM reporting.videos")}
    mp4, avi = facts["upright.mp4"], facts["whole.avi"]
    assert (mp4.container, mp4.codec, mp4.frame_count, mp4.fps, mp4.decoder) == ("mov", "h264", 50, 10.0, "decord")
    assert (avi.container, avi.codec, avi.frame_count, avi.fps, avi.decoder) == ("avi", "mjpeg", 75, 25.0, "pyav")
    assert "container avi" in avi.decoder_reason
    assert not any((mp4.rotation, mp4.truncated, mp4.damaged_packets))
    (answer,) = pipeline.rows(
        "SELECT DISTINCT frame_times_s, decoder, thumbnail_uri FROM reporting.answers WHERE uri LIKE '%whole.avi'"
    )
    assert answer.frame_times_s == pytest.approx([0.36, 1.12, 1.84, 2.6])  # shown at 0.375, 1.125, 1.875, 2.625 s
    assert answer.decoder == "pyav"
    with Image.open(answer.thumbnail_uri.removeprefix("file://")) as sheet:
        assert sheet.format == "JPEG"
