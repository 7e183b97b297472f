"""A video's page: bytes by ranges, tracks, timeline, answers, frames."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fixtures.clips import encode_numbers, read_number
from fixtures.work_signed_in import Console
from PIL import Image
from sqlalchemy import text


@pytest.fixture
def stored(console: Console, tmp_path: Path) -> Path:
    """The video `clip-3` is a real file of four seconds; its first segment has frames at 0.48 and 3.48 s."""
    path = tmp_path / "in" / "numbers #1.mp4"
    path.parent.mkdir()
    encode_numbers(path, range(100), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    console.put_file("clip-3", path, frame_times_s=(0.48, 3.48))
    return path


def test_the_player_gets_the_bytes_by_ranges(console: Console, stored: Path):
    data, media = stored.read_bytes(), f"/videos/{console.video_ids['clip-3']}/media"
    with console.client("vera") as client:
        whole = client.get(media)
        part = client.get(media, headers={"Range": "bytes=100-199"})
        last = client.get(media, headers={"Range": "bytes=-50"})
        open_end = client.get(media, headers={"Range": "bytes=10-"})
        beyond = client.get(media, headers={"Range": f"bytes={len(data)}-"})
        nonsense = client.get(media, headers={"Range": "lines=1-2"})
    assert (whole.status_code, whole.content) == (200, data)
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(data)}"
    assert last.content == data[-50:]
    assert open_end.content == data[10:]
    assert [beyond.status_code, nonsense.status_code] == [416, 416]
    for reply in (whole, part):
        assert reply.headers["Content-Type"] == "video/mp4"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    with console.owner.begin() as connection:
        seen = connection.execute(text("SELECT what, video_id, blurred FROM reporting.views_seen")).all()
    assert [tuple(row) for row in seen] == [("video", console.video_ids["clip-3"], False)] * 4


def test_the_player_of_the_lane_counts_as_blurred_until_the_picture_is_asked_for(console: Console, tmp_path: Path):
    path, video = tmp_path / "in" / "clip.mp4", console.video_ids["bloody"]
    path.parent.mkdir()
    encode_numbers(path, range(25), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    console.put_file("bloody", path, frame_times_s=(0.48,))
    page = f"/videos/{video}?lane=restricted"
    with console.client("cleo") as client:
        assert f'data-reveal="/videos/{video}/revealed"' in client.get(page).text
        assert client.get(f"/videos/{video}/media?lane=restricted").status_code == 200
        assert client.submit(f"/videos/{video}/revealed", page=page).status_code == 204
        assert client.submit(f"/videos/{video}/revealed", page=page, segment="0").status_code == 204
    with console.owner.begin() as connection:
        seen = connection.execute(
            text("SELECT what, segment, blurred FROM reporting.views_seen ORDER BY view_id")
        ).all()
    rows = [tuple(row) for row in seen]
    assert rows == [("video", None, True), ("video", None, False), ("contact_sheet", 0, False)]


def test_bytes_of_another_version_are_not_shown(console: Console, stored: Path):
    media = f"/videos/{console.video_ids['clip-3']}/media"
    stored.write_bytes(b"something else")
    with console.client("vera") as client:
        assert client.get(media).status_code == 410
        stored.unlink()
        assert client.get(media).status_code == 410
        assert client.get(f"/videos/{console.video_ids['clip-3']}/segments/0/frames/0.jpg").status_code == 410


@pytest.mark.parametrize(
    ("container", "codec"), [("mov", "hevc"), ("avi", "mpeg4"), ("asf", "wmv3"), ("mpegts", "h264")]
)
def test_files_that_browsers_do_not_play_are_named(console: Console, stored: Path, container: str, codec: str):
    video = console.video_ids["clip-3"]
    console.execute(
        f"""UPDATE nightreel.videos SET probe = probe || '{{"container": "{container}", "codec": "{codec}"}}'
        WHERE id = {video}"""
    )
    with console.client("vera") as client:
        page = client.get(f"/videos/{video}").text
        assert f"Your browser cannot play this file ({container}, {codec})" in page
        assert "<video" not in page
        assert client.get(f"/videos/{video}/media").status_code == 404


def test_the_page_shows_what_is_known_of_a_moment(console: Console):
    video = console.video_ids["clip-3"]
    with console.client("ann") as client:
        page = client.get(f"/videos/{video}?t=40").text
        part = client.get(f"/videos/{video}/moment?t=40", headers={"HX-Request": "true"}).text
    assert "a bicycle" in part
    assert "a street" not in part
    for said in ("0:30–1:00", "Violence?", "97%", "severity 3", "tiny", "policy"):
        assert said in part, said
    assert "a bicycle" in page
    assert page.count('class="flagged"') == 2, "two ranges: 0 to 60 s and 90 to 120 s"
    assert f"/cases/{console.case_id('clip-3')}" in page


def test_a_viewer_sees_no_link_to_a_case(console: Console):
    with console.client("vera") as client:
        page = client.get(f"/videos/{console.video_ids['clip-3']}").text
    assert "case " in page
    assert "/cases/" not in page


def test_captions_and_flags_are_tracks(console: Console):
    video = console.video_ids["clip-3"]
    with console.client("vera") as client:
        captions = client.get(f"/videos/{video}/captions.vtt")
        flags = client.get(f"/videos/{video}/flags.vtt")
    assert captions.headers["Content-Type"].startswith("text/vtt")
    assert "00:00:30.000 --> 00:01:00.000\na bicycle" in captions.text
    assert captions.text.startswith("WEBVTT\n")
    assert "00:00:00.000 --> 00:01:00.000\nviolence: flagged" in flags.text


def test_a_frame_is_the_one_at_which_the_model_looked(console: Console, stored: Path):
    video = console.video_ids["clip-3"]
    with console.client("vera") as client:
        reply = client.get(f"/videos/{video}/segments/0/frames/1.jpg")
    assert reply.status_code == 200, reply.text
    assert read_number(np.asarray(Image.open(io.BytesIO(reply.content)))) == 87


def test_copies_are_listed(console: Console):
    console.execute(
        "UPDATE nightreel.videos SET content_sha256 = repeat('a', 64) WHERE uri LIKE '%clean%' OR uri LIKE '%bloody%' "
        "OR uri LIKE '%unsure%'"
    )
    with console.client("vera") as client:
        page = client.get(f"/videos/{console.video_ids['clean']}").text
    assert "unsure.mp4" in page
    assert "bloody" not in page, "a restricted copy is not told"


def test_a_video_that_waits_says_so_and_one_that_does_not_exist_is_not_found(console: Console):
    with console.client("vera") as client:
        assert "Nothing is known yet" in client.get(f"/videos/{console.video_ids['waiting']}").text
        for path in ("/videos/999999", "/videos/999999/moment", "/videos/999999/flags.vtt", "/videos/0", "/videos/x"):
            assert client.get(path).status_code in (404, 422), path
