"""Previews of videos that browsers do not play, as the console makes, keeps and serves them."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from contextlib import closing
from pathlib import Path

import av
import httpx
import pytest
from fixtures import hostile_decoder
from fixtures.clips import read_number
from fixtures.formats import FORMATS
from fixtures.work_signed_in import Client, Console
from sqlalchemy import text

from nightreel.api import previews
from nightreel.api.previews import PreviewAnswer, PreviewMaker, PreviewState, WantedPreview
from nightreel.api.service import open_service
from nightreel.database.connection import Database
from nightreel.media.sandbox import DecoderPool

SOURCE = re.compile(r'src="(/videos/\d+/preview/[0-9a-f]{64}\.webm[^"]*)"')
SHEET = "The contact sheet shows the sampled frames."


@pytest.fixture
def avi(console: Console, tmp_path: Path) -> Path:
    """An AVI of 4 s, of which `clip-3` has flags from 0 to 60 s."""
    return put(console, tmp_path, "clip-3")


def put(console: Console, tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    clip = FORMATS["mpeg4_avi"](folder / name)
    console.put_file(name, clip.path, frame_times_s=(0.48, 3.48), container="avi", codec="mpeg4", with_content=True)
    console.execute(f"UPDATE nightreel.videos SET duration_s = 4 WHERE id = {console.video_ids[name]}")
    return clip.path


def settled(client: Client, path: str) -> httpx.Response:
    """The part of the page about the preview when it is no longer being made, as htmx asks for it."""
    end = time.monotonic() + 60
    while True:
        reply = client.get(path, headers={"HX-Request": "true"})
        if "every 2s" not in reply.text:
            return reply
        assert "is being made" in reply.text
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_page_says_that_a_preview_is_made_then_plays_it(console: Console, avi: Path):
    video = console.video_ids["clip-3"]
    with console.client("vera") as client:
        first = client.get(f"/videos/{video}").text
        assert "Your browser cannot play this file (avi, mpeg4)." in first
        assert "A preview of 0:00–0:04 is being made." in first
        assert "<video" not in first
        part = settled(client, f"/videos/{video}/preview").text
        page = client.get(f"/videos/{video}").text
        for shown in (part, page):
            assert "This is a preview: small and without sound." in shown
            assert 'data-ranges="0.0-4.0"' in shown
        source = SOURCE.search(page)[1]
        assert SOURCE.search(part)[1] == source
        whole, some = client.get(source), client.get(source, headers={"Range": "bytes=4-9"})
        beyond = client.get(source, headers={"Range": f"bytes={len(whole.content)}-"})
    assert (whole.status_code, some.status_code, beyond.status_code) == (200, 206, 416)
    assert some.content == whole.content[4:10]
    for reply in (whole, some):
        assert reply.headers["Content-Type"] == "video/webm"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
    with av.open(io.BytesIO(whole.content)) as container:
        shown = {round(float(one.time), 3): read_number(one.to_ndarray(format="rgb24")) for one in container.decode()}
    assert (shown[0.48], shown[3.48]) == (12, 87), "the frames at which the model looked"
    with console.owner.begin() as connection:
        seen = connection.execute(text("SELECT what, video_id, blurred FROM reporting.views_seen")).all()
    assert [tuple(row) for row in seen] == [("video", video, False)] * 2
    kept = [path for path in (console.settings.work_dir / "previews").rglob("*") if path.is_file()]
    assert [path.parent.name for path in kept] == [hashlib.sha256(avi.read_bytes()).hexdigest()]
    assert not list((console.settings.work_dir / "spool").rglob("video")), "the video itself is not kept"


def test_a_moment_without_a_flag_has_a_preview_of_its_own(console: Console, avi: Path):
    video = console.video_ids["clip-3"]
    console.execute(f"UPDATE nightreel.videos SET duration_s = 150 WHERE id = {video}")
    with console.client("vera") as client:
        of_flags = client.get(f"/videos/{video}").text
        of_moment = client.get(f"/videos/{video}?t=65").text
    assert "A preview of 0:00–1:00 is being made." in of_flags
    assert "A preview of 1:00–2:00 is being made." in of_moment


def test_an_object_that_is_gone_or_changed_leaves_the_contact_sheet_and_a_sentence(console: Console, avi: Path):
    avi.write_bytes(b"something else")
    with console.client("vera") as client:
        page = settled(client, f"/videos/{console.video_ids['clip-3']}/preview").text
    assert "There is no preview: the object is gone, or has changed since it was analysed." in page
    assert SHEET in page
    assert "<video" not in page


def test_only_those_who_may_see_a_video_get_its_preview(console: Console, tmp_path: Path):
    put(console, tmp_path, "bloody")
    put(console, tmp_path, "clean")
    bloody, clean, other = (console.video_ids[name] for name in ("bloody", "clean", "unsure"))
    with console.client("cleo") as cleo, console.client("ada") as ada:
        assert cleo.get(f"/videos/{bloody}/preview").status_code == 404, "outside of its lane"
        assert ada.get(f"/videos/{bloody}/preview?lane=restricted").status_code == 404
        part = settled(cleo, f"/videos/{bloody}/preview?lane=restricted").text
        assert 'class="picture hidden-picture"' in part
        source = SOURCE.search(part)[1]
        assert source.endswith("?lane=restricted")
        assert cleo.get(source).status_code == 200
        assert cleo.get(source.partition("?")[0]).status_code == 404
        assert ada.get(source).status_code == 404
        elsewhere = source.replace(f"/{bloody}/", f"/{other}/")
        assert ada.get(elsewhere.partition("?")[0]).status_code == 404, "a preview belongs to its content"
        assert settled(ada, f"/videos/{clean}/preview").status_code == 200


HOSTILE = """
    def decode_video(file, job, frames):
        said = {"ticks": job.ticks, "flags": [[] for _ in job.ticks], "decoder": "pyav", "version": "1"}
        reply(json.dumps(said).encode(), b"<!doctype html><script>alert(1)</script>")
"""


def test_what_a_captured_decoder_sends_does_not_reach_a_browser(console: Console, avi: Path, monkeypatch, tmp_path):
    hostile_decoder.install(monkeypatch, tmp_path, HOSTILE)
    with console.client("vera") as client:
        part = settled(client, f"/videos/{console.video_ids['clip-3']}/preview").text
    assert "it could not be made (decoder_lied)" in part
    assert "<script" not in part
    assert not list((console.settings.work_dir / "previews").rglob("*.webm"))


def test_without_the_encoder_the_page_says_so(console: Console, avi: Path, monkeypatch, tmp_path):
    missing = 'from nightreel.media import webm\nwebm._ENCODER = "libnone"\n'
    hostile_decoder.install(monkeypatch, tmp_path, "", before=missing)
    with console.client("vera") as client:
        part = settled(client, f"/videos/{console.video_ids['clip-3']}/preview").text
    assert "There is no preview: the console has no encoder for it." in part
    assert SHEET in part


@pytest.mark.parametrize("rest_settings", [{"console_previews_mib": 0}], indirect=True)
def test_previews_can_be_switched_off(console: Console, avi: Path):
    with console.client("vera") as client:
        page = client.get(f"/videos/{console.video_ids['clip-3']}").text
    assert "Previews are switched off." in page
    assert SHEET in page


def wanted(content: str, number: int = 0) -> WantedPreview:
    video = previews.AnalysedVideo(uri="file:///gone/a.avi", etag="1", content_sha256=content)
    return WantedPreview(video=video, ranges=((float(number), number + 1.0),), moments_s=())


def test_fifty_people_have_one_preview_made_at_a_time(console: Console, avi: Path, monkeypatch):
    running, most, made, lock = 0, 0, [], threading.Lock()
    encode = DecoderPool.encode_preview

    def counted(*arguments, ranges, **more):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            made.append(ranges)
        try:
            return encode(*arguments, ranges=ranges, **more)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(DecoderPool, "encode_preview", counted)
    video = console.video_ids["clip-3"]
    with console.client("vera") as client:
        started = time.monotonic()
        for number in range(50):
            assert client.get(f"/videos/{video}/preview?t={number % 4 * 30}").status_code == 200
        assert time.monotonic() - started < 30, "no request waits for an encoder"
        for number in range(4):
            assert settled(client, f"/videos/{video}/preview?t={number * 30}").status_code == 200
    assert most == 1
    assert len(made) == len(set(made)) <= 4, "each once"


def test_what_nobody_asks_for_any_more_is_not_made(console: Console, console_url: str, monkeypatch):
    monkeypatch.setattr(previews, "_FORGOTTEN_AFTER_S", 0.0)
    with closing(Database(console_url)) as database, open_service(console.settings, database) as service:
        monkeypatch.setattr(PreviewMaker, "_make", lambda *_: pytest.fail("it was made"))
        assert service.previews.ask(wanted("a" * 64)).state == PreviewState.WAITING
        time.sleep(0.5)
        assert not service.previews._waiting


def test_the_queue_has_an_end_and_failures_are_kept_for_a_while(console: Console, console_url: str, monkeypatch):
    with closing(Database(console_url)) as database, open_service(console.settings, database) as service:
        maker, go = service.previews, threading.Event()
        make = maker._make
        monkeypatch.setattr(maker, "_make", lambda one: (go.wait(30), make(one)))
        for number in range(200):
            assert maker.ask(wanted("a" * 64, number)).state == PreviewState.WAITING
        assert len(maker._waiting) <= previews._MOST_WAITING
        go.set()
        end = time.monotonic() + 30
        while (answer := maker.ask(wanted("a" * 64))).state == PreviewState.WAITING:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert answer == PreviewAnswer(PreviewState.FAILED, "storage_unreachable")


def test_previews_of_erased_videos_are_deleted_when_the_console_starts(console: Console, console_url: str, avi: Path):
    known = hashlib.sha256(avi.read_bytes()).hexdigest()
    with closing(Database(console_url)) as database:
        with open_service(console.settings, database) as service:
            service.previews.store.put(known, "0" * 64, b"known")
            service.previews.store.put("b" * 64, "0" * 64, b"erased on another host")
        with open_service(console.settings, database) as service:
            end = time.monotonic() + 10
            while service.previews.store.contents() != [known]:
                assert time.monotonic() < end
                time.sleep(0.05)
