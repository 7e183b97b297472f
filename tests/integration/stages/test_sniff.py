"""Text under a video's ending is left out of the work; everything else is claimed, on real files and real Postgres."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from fixtures.clips import run_ffmpeg
from fixtures.rights import closed
from fixtures.work import Work

from nightreel.database.claims import ClaimsInOrder, Selection
from nightreel.database.discovery import ListingFilter, PageCounts
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.settings import load_settings
from nightreel.stages.discover import Discovery
from nightreel.stages.listing import ListingCursor
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.sniff import Sniffing, is_text
from nightreel.stages.sweep import Sweep
from nightreel.storage.local import LocalStorage

ADMIT = ListingFilter(suffixes=(".ts", ".mts", ".m2ts", ".mp4"))
TEXTS = {
    "app.ts": b'import { a } from "./b";\n\nexport const c: number = 1;\n' * 50,
    "types.d.ts": b"export {};\n",
    "module.MTS": b"export default 1;\r\n",
    "qt_de.ts": '<?xml version="1.0"?>\n<TS version="2.1" language="de"><!-- Grüße -->'.encode(),
    "latin.ts": "// Grüße aus Köln\n".encode("latin-1"),
    "utf16.ts": "export const ü = 1;\n".encode("utf-16"),
    "wide.ts": "\ufeffexport const ü = 1;\n".encode("utf-16-be"),
    "cut.ts": b"// " + "日".encode() * 2000,
}


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """A real transport stream."""
    path = tmp_path_factory.mktemp("stream") / "a.ts"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=1", path)
    return path.read_bytes()


class Home(LocalStorage):
    """A directory that counts the looks into its files, and fails on request."""

    def __init__(self, root):
        super().__init__(root)
        self.looked: list[str] = []
        self.error: Exception | None = None

    def read_start(self, uri, *, most_bytes):
        self.looked.append(uri.rpartition("/")[2])
        if self.error:
            raise self.error
        return super().read_start(uri, most_bytes=most_bytes)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "videos").mkdir()
    return Home(tmp_path / "videos")


@pytest.fixture
def put(tmp_path):
    def put(name, body):
        (tmp_path / "videos" / name).write_bytes(body)

    return put


@pytest.fixture
def discover(work: Work, home: Home):
    """List the whole directory once, as a run does. Returns the counts."""

    def discover() -> PageCounts:
        selection = Selection(f"{home.url}/")
        discovery = Discovery(
            database=work.database,
            recipe=work.recipe,
            run_id=work.run.id,
            selection=selection,
            listing=ListingCursor(home, selection, load_settings()),
            admit=ADMIT,
            sniffing=Sniffing(source=home, database=work.database, admit=ADMIT),
            claims=ClaimsInOrder(selection, recipe=work.recipe, run_id=work.run.id, chunk_segments=16, lease_s=60),
            recorder=RunRecorder(),
            chunk_segments=1000,
            max_crashes=3,
            why_stop=lambda: None,
            model=None,  # only a claim checks model, cache and sandbox
            cache=None,
            files=None,
        )
        found = discovery.discover_pages()
        assert found.exhausted
        return found.counts

    return discover


def claimed(work: Work, home: Home):
    return sorted(claim.video.uri.rpartition("/")[2] for claim in work.claim(1000, selection=Selection(f"{home.url}/")))


def test_text_is_told_from_every_kind_of_stream(stream):
    for name, body in TEXTS.items():
        assert is_text(body[:1024]), name
    scrambled = random.Random(1).randbytes(1024)
    blu_ray = b"".join(b"\0\0\0\0" + stream[at : at + 188] for at in range(0, 188 * 5, 188))
    for body in (
        stream[:1024],
        stream[:188],
        stream[3:1027],
        blu_ray,
        scrambled,
        bytes(1024),
        b"\xff" * 20 + b"\0",
        b"",
    ):
        assert not is_text(body)
    assert not is_text(b""), "an empty file fails as one"


def test_typescript_is_no_work_and_no_row(work, home, put, discover, stream, caplog):
    for name, body in TEXTS.items():
        put(name, body)
    put("a.ts", stream)
    put("b.mts", stream)
    put("page.mp4", b"<html>not found</html>")  # this ending belongs to videos alone: its failure is worth a row
    put("empty.ts", b"")
    assert discover() == PageCounts(listed=12, filtered=8, new=4)
    assert claimed(work, home) == ["a.ts", "b.mts", "empty.ts", "page.mp4"]
    with work.database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM nightreel.videos").scalar() == 4
    lines = [record.getMessage() for record in caplog.records if "text under" in record.getMessage()]
    assert len(lines) == 1
    assert "app.ts" in lines[0]
    assert "and 5 more" in lines[0]


def test_only_unknown_objects_with_a_shared_ending_are_looked_into(home, put, discover, stream):
    put("a.ts", stream)
    put("app.ts", TEXTS["app.ts"])
    put("b.mp4", stream)
    discover()
    assert sorted(home.looked) == ["a.ts", "app.ts"]
    assert discover() == PageCounts(listed=3, filtered=1, known=2)
    assert sorted(home.looked) == ["a.ts", "app.ts", "app.ts"]


def test_a_known_video_that_becomes_text_is_still_a_video(work, home, put, discover, stream):
    put("a.ts", stream)
    discover()
    put("a.ts", b"oops\n")
    assert discover() == PageCounts(listed=1, changed=1)


@pytest.mark.parametrize(
    "error",
    [
        TransientError(Reason.STORAGE_UNREACHABLE, "gone for lunch"),
        PermanentError(Reason.OBJECT_DENIED, "not this one"),
        PermanentError(Reason.ARCHIVED, "in an archive"),
        PermanentError(Reason.OBJECT_GONE, "deleted"),
    ],
)
def test_an_object_that_cannot_be_looked_into_stays_work(home, put, discover, stream, error):
    put("a.ts", stream)
    put("app.ts", TEXTS["app.ts"])
    home.error = error
    assert discover() == PageCounts(listed=2, new=2)


def test_refused_keys_end_the_listing(home, put, discover, stream):
    put("a.ts", stream)
    home.error = PermanentError(Reason.ACCESS_DENIED, "expired")
    with pytest.raises(PermanentError, match="access_denied"):
        discover()


def test_a_sweep_leaves_text_out_too(work, home, put, stream):
    put("a.ts", stream)
    put("app.ts", TEXTS["app.ts"])
    sweep = Sweep(
        home,
        database=work.database,
        admit=replace(ADMIT),
        recipe_id=work.recipe.id,
        run_id=work.run.id,
        page_size=10,
        recorder=RunRecorder(),
    )
    assert sweep.go_on().counts == PageCounts(listed=2, filtered=1, new=1)


def test_an_unreadable_script_stays_work(open_directory, work, stream):
    (open_directory / "a.ts").write_bytes(TEXTS["app.ts"])
    home = Home(open_directory)
    ((item,),) = home.list_pages()
    with closed(open_directory / "a.ts"):
        assert Sniffing(source=home, database=work.database, admit=ADMIT).without_text([item]) == [item]
