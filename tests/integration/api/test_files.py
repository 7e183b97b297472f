"""Exports, thumbnails, frames and questions over HTTP, with real clips and the demo model."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.clips import encode_numbers, read_number
from fixtures.work_rest import Rest, serving
from PIL import Image
from psycopg import sql
from sqlalchemy import make_url, text

from nightreel.api.app import create_app
from nightreel.api.service import open_service
from nightreel.database.connection import Database
from nightreel.domain.tokens import Scope
from nightreel.settings import Settings
from nightreel.storage import open_storage


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Four seconds of numbered frames, 25 a second."""
    path = tmp_path_factory.mktemp("clips") / "numbers.mp4"
    encode_numbers(path, range(100), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    return path


@pytest.fixture
def stored_clip(rest: Rest, clip: Path, tmp_path: Path) -> Path:
    """The video `clean` is this file; its first segment has frames at 0.48 and 3.48 s."""
    path = tmp_path / "in" / "a clip #1.mp4"
    path.parent.mkdir()
    path.write_bytes(clip.read_bytes())
    rest.put_file("clean", path, frame_times_s=(0.48, 3.48))
    return path


def frame(rest: Rest, number: int) -> httpx.Response:
    return rest.get(f"videos/{rest.video_ids['clean']}/segments/0/frames/{number}.jpg", "media")


def test_a_frame_is_the_one_that_the_model_saw(rest: Rest, stored_clip: Path):
    for number, shown in ((0, 12), (1, 87)):
        reply = frame(rest, number)
        assert reply.status_code == 200, reply.text
        assert reply.headers["Content-Type"] == "image/jpeg"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert read_number(np.asarray(Image.open(io.BytesIO(reply.content)))) == shown
    assert frame(rest, 2).status_code == 404
    assert len(list(rest.settings.work_dir.glob("spool/*/*/video"))) == 1, "the last video is kept, no other"


def views_of(rest: Rest) -> list[tuple]:
    names = ("what", "video_id", "segment", "blurred", "reviewer")
    rows = rest.get("views_seen", "read").json()["rows"]
    return [tuple(row[name] for name in names) for row in rows]


def test_each_picture_that_leaves_is_in_the_log_and_no_other(rest: Rest, stored_clip: Path):
    video = rest.video_ids["clean"]
    cache = open_storage(rest.settings.cache_prefix, rest.settings)
    uri = cache.publish("00/picture.jpg", b"\xff\xd8\xffpicture").uri
    rest.execute(f"UPDATE nightreel.features SET thumbnail_uri = '{uri}' WHERE key = '{video}-1'")
    assert frame(rest, 0).status_code == 200
    assert rest.get(f"videos/{video}/thumbnail", "media", params={"segment": 1}).status_code == 200
    for refused in (f"videos/{video}/segments/0/frames/9.jpg", f"videos/{video}/thumbnail?segment=2"):
        assert rest.get(refused, "media").status_code == 404
    assert rest.get(f"videos/{video}/thumbnail?segment=1", "read").status_code == 403
    with rest.owner.begin() as connection:
        pseudonym = connection.execute(text("SELECT pseudonym FROM nightreel.users WHERE name = 'ann'")).scalar_one()
    assert views_of(rest) == [
        ("frame", video, 0, False, pseudonym),
        ("contact_sheet", video, 1, False, pseudonym),
    ]


def test_no_picture_leaves_that_cannot_be_noted(rest: Rest, stored_clip: Path, owner_url: str):
    with closing(Database(owner_url)) as owner, owner.begin() as connection:
        connection.execute(text("REVOKE INSERT ON nightreel.views_seen FROM nightreel_console"))
    reply = frame(rest, 0)
    assert reply.status_code != 200
    assert not reply.content.startswith(b"\xff\xd8\xff")


def test_a_frame_of_a_changed_or_deleted_object_is_gone(rest: Rest, stored_clip: Path):
    stored_clip.write_bytes(stored_clip.read_bytes() + b"\0")
    changed = frame(rest, 0)
    assert (changed.status_code, changed.json()["reason"]) == (410, "object_changed")
    assert "has changed since it was analysed" in changed.json()["detail"]
    stored_clip.unlink()
    gone = frame(rest, 0)
    assert (gone.status_code, gone.json()["reason"]) == (410, "object_gone")


def test_a_frame_of_other_bytes_under_the_same_etag_is_gone(rest: Rest, stored_clip: Path):
    rest.execute(f"UPDATE nightreel.videos SET content_sha256 = '{'0' * 64}' WHERE id = {rest.video_ids['clean']}")
    assert frame(rest, 0).status_code == 410


def test_a_thumbnail_is_what_the_cache_holds_if_it_is_a_jpeg(rest: Rest):
    video = rest.video_ids["clean"]
    picture = io.BytesIO()
    Image.new("RGB", (64, 32)).save(picture, "JPEG")
    cache = open_storage(rest.settings.cache_prefix, rest.settings)
    for name, data, status in (
        ("aa/a.jpg", picture.getvalue(), 200),
        ("aa/b.jpg", b"<script>alert(1)</script>", 404),
        ("aa/c.jpg", None, 404),
    ):
        if data is not None:
            cache.publish(name, data)
        rest.execute(f"UPDATE nightreel.features SET thumbnail_uri = '{cache.url}/{name}' WHERE key = '{video}-0'")
        reply = rest.get(f"videos/{video}/thumbnail", "media")
        assert reply.status_code == status, reply.text
    rest.execute(f"UPDATE nightreel.features SET thumbnail_uri = 'file:///etc/passwd' WHERE key = '{video}-0'")
    assert rest.get(f"videos/{video}/thumbnail", "media").status_code == 404
    assert rest.get(f"videos/{video}/thumbnail", "media", params={"segment": 9}).status_code == 404


def test_an_export_has_the_rows_of_its_pages_in_each_form(rest: Rest):
    query = {"filter": "prompt=violence", "columns": "uri,segment,p"}
    rows = rest.get("answers", params=query | {"limit": 1000}).json()["rows"]
    assert len(rows) == 20
    lines = rest.get("exports/answers", "export", params=query | {"format": "jsonl"})
    assert lines.headers["Content-Disposition"] == 'attachment; filename="answers.jsonl"'
    found = [json.loads(line) for line in lines.text.splitlines()]
    table = pq.read_table(
        io.BytesIO(rest.get("exports/answers", "export", params=query | {"format": "parquet"}).content)
    )
    text = rest.get("exports/answers", "export", params=query)
    assert text.headers["Content-Type"] == "text/csv; charset=utf-8"

    def in_order(some: list[dict]) -> list[dict]:
        return sorted(some, key=lambda row: (row["uri"], row["segment"]))

    assert in_order(found) == in_order(table.to_pylist()) == in_order(rows)
    assert len(text.text.splitlines()) == 21


WRONG_EXPORTS = [
    ("exports/answer", {}, 404, "did you mean 'answers'?"),
    ("exports/answers", {"format": "xlsx"}, 422, "format"),
    ("exports/answers", {"filter": "p>=many"}, 400, "invalid input syntax"),
    ("exports/memory", {"under": "s3://"}, 400, "has no keys of videos"),
]


def test_a_wrong_export_has_a_status_and_leaves_its_place(rest: Rest):
    token = rest.token("export")
    for path, query, status, said in WRONG_EXPORTS:
        reply = rest.get(path, token=token, params=query)
        assert (reply.status_code, said in reply.json()["detail"]) == (status, True), reply.text
    assert rest.get("exports/answers", token=token).status_code == 200


def test_a_client_that_goes_away_leaves_its_place(rest: Rest):
    rest.execute("UPDATE nightreel.questions SET text = repeat('long ', 200000)")  # answers show it: 80 MB
    token = rest.token("export")
    for _ in range(3):
        with httpx.stream(
            "GET", f"{rest.url}/exports/answers", headers={"Authorization": f"Bearer {token}"}, timeout=30
        ) as reply:
            assert reply.status_code == 200
            next(reply.iter_raw(1))
    deadline = time.monotonic() + 20
    while (again := rest.get("exports/videos", token=token)).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert again.status_code == 200


def test_an_export_that_fails_in_the_middle_is_no_whole_file(rest: Rest, postgres_server):
    rest.execute("UPDATE nightreel.questions SET text = repeat('long ', 200000)")
    headers = {"Authorization": f"Bearer {rest.token('export')}"}
    with httpx.stream("GET", f"{rest.url}/exports/answers", headers=headers, timeout=30) as reply:
        received = reply.iter_raw()
        next(received)
        postgres_server.execute(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'nightreel_console'")
        )
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in received:
                pass
    assert rest.get("videos").status_code == 200, "the next request has another connection"


# -- questions ------------------------------------------------------------------------------------------------------


def ask(rest: Rest, file: tuple[str, bytes], *, token: str | None = None, **form) -> httpx.Response:
    return rest.http.post(
        f"{rest.url}/ask",
        headers={"Authorization": f"Bearer {token or rest.token('ask')}"},
        files={"file": file},
        data=form,
        timeout=120,
    )


def test_a_question_about_a_file_is_answered_and_nothing_is_left(rest: Rest, clip: Path):
    reply = ask(rest, ("../../x;rm.mp4", clip.read_bytes()), question="Is a red triangle visible?", kind="yes_no")
    assert reply.status_code == 200, reply.text
    (answer,) = reply.json()["answers"]
    assert answer["answer"] in ("yes", "no")
    assert (answer["start_s"], answer["end_s"], len(answer["frame_times_s"])) == (0.0, 4.0, 8)
    assert 0 <= answer["p"] <= 1
    left = [path.name for path in rest.settings.work_dir.rglob("*") if path.is_file()]
    assert left == ["lock"], "of the spool"


def test_a_question_about_an_image_is_answered(rest: Rest):
    reply = ask(rest, ("photo.mp4", picture("JPEG")), question="Is a red triangle visible?", kind="yes_no")
    assert reply.status_code == 200, reply.text
    (answer,) = reply.json()["answers"]
    assert answer["answer"] in ("yes", "no")
    assert (answer["start_s"], answer["end_s"], answer["frame_times_s"]) == (0.0, 0.0, [0.0])


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "white").save(file, form)
    return file.getvalue()


WRONG_QUESTIONS = [
    (picture("JPEG")[:-20], {"question": "What?"}, 422, "is damaged"),
    (picture("AVIF"), {"question": "What?"}, 422, "only JPEG, PNG and WebP images"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"question": "What?"}, 422, "not a video"),
    (b"minutes of a meeting\n" * 100, {"question": "What?"}, 422, "holds text, not a video"),
    (b"", {"question": "What?"}, 422, "has 0 bytes"),
    (b"x", {}, 422, "question"),
    (b"x", {"question": "What?", "kind": "poem"}, 422, "expected one of"),
    (b"x", {"question": "Where?", "kind": "choice"}, 400, "require choices"),
]


def test_a_wrong_question_is_refused(rest: Rest):
    token = rest.token("ask")
    for content, form, status, said in WRONG_QUESTIONS:
        reply = ask(rest, ("x.mp4", content), token=token, **form)
        assert (reply.status_code, said in reply.json()["detail"]) == (status, True), reply.text


def test_only_a_form_with_a_file_is_taken(rest: Rest):
    headers = {"Authorization": f"Bearer {rest.token('ask')}"}
    assert rest.http.post(f"{rest.url}/ask", headers=headers, json={"question": "What?"}).status_code == 415
    broken = headers | {"Content-Type": "multipart/form-data"}
    assert rest.http.post(f"{rest.url}/ask", headers=broken, content=b"--x").status_code == 400
    no_file = rest.http.post(f"{rest.url}/ask", headers=headers, files={"question": (None, "What?")})
    assert (no_file.status_code, "file" in no_file.json()["detail"]) == (422, True)


@pytest.fixture
def small(rest: Rest, rest_settings: Settings, postgres_server) -> Iterator[Rest]:
    """The same rows under tight limits."""
    database = make_url(str(rest.owner.engine.url)).database
    url = postgres_server.console_url.set(database=database).render_as_string(hide_password=False)
    tight = rest_settings.model_copy(
        update={"api_upload_mib": 1, "api_requests_per_minute": 6, "api_model_idle_s": 0.5}
    )
    console = Database(url)
    with open_service(tight, console) as service, serving(create_app(service)) as base:
        yield Rest(f"{base}/api/v1", rest.owner, tight, rest.video_ids, rest.http)
        assert service.model.is_loaded is False, "released after it was idle"
    console.close()


def test_a_large_file_is_refused_before_it_is_read(small: Rest):
    reply = ask(small, ("x.mp4", b"x" * (3 << 20)), question="What?")
    assert reply.status_code == 413

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(64):
            yield b"x" * (1 << 20)

    headers = {"Authorization": f"Bearer {small.token('ask')}", "Content-Type": "multipart/form-data; boundary=b"}
    try:
        status = httpx.post(f"{small.url}/ask", headers=headers, content=endless(), timeout=30).status_code
    except httpx.TransportError:
        status = 413  # it closed the connection before the end of the body
    assert status == 413


def test_one_token_makes_no_more_requests_than_it_may(small: Rest):
    token, other = small.token("read"), small.token("read")
    statuses = [small.get("views", token=token).status_code for _ in range(7)]
    assert statuses == [200] * 6 + [429]
    refused = small.get("views", token=token)
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    assert small.get("views", token=other).status_code == 200


def test_one_question_is_answered_at_a_time_and_the_model_is_released(small: Rest, clip: Path):
    token = small.token(Scope.ASK)
    with ThreadPoolExecutor(4) as threads:
        asked = [
            threads.submit(ask, small, ("x.mp4", clip.read_bytes()), token=token, question="What?") for _ in range(4)
        ]
        replies = [one.result() for one in asked]
    assert sorted({reply.status_code for reply in replies}) == [200, 429]
    assert all("Retry-After" in reply.headers for reply in replies if reply.status_code == 429)
    time.sleep(1.5)
