"""A sweep compares a full listing with known videos: overwritten, gone, back. Tested on real directories."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fixtures.rights import closed
from fixtures.work import MODIFIED, Work, stored
from sqlalchemy import text

from nightreel.database.claims import Selection
from nightreel.database.discovery import ListingFilter, PageCounts
from nightreel.domain import StoredObject
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.stages import sweep as stage
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.sweep import Sweep
from nightreel.storage.local import LocalStorage


class Shelf(LocalStorage):
    """A directory whose listing fails or reverses its order on request."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.breaks: list[Exception] = []
        self.turned_round = False
        self.before_page: Callable[[int], None] = lambda _: None

    def _pages(self, *arguments) -> Iterator[list[StoredObject]]:
        for number, page in enumerate(super()._pages(*arguments)):
            self.before_page(number)
            if number == 1 and self.breaks:
                raise self.breaks.pop()
            yield page[::-1] if self.turned_round else page


class Source:
    """A directory, its known videos, and sweeps over it with two objects a page."""

    def __init__(self, work: Work, root: Path) -> None:
        self.work = work
        self.storage = Shelf(root)
        self.root = root
        self.admit = ListingFilter()

    def put(self, *names: str, body: str = "x", days: int = 0) -> None:
        """Write files that were modified `days` days after MODIFIED."""
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
            at = (MODIFIED + timedelta(days=days)).timestamp()
            os.utime(path, (at, at))

    def know(self) -> None:
        """Discover the existing files, as a night does."""
        for page in self.storage.list_pages():
            self.work.discover(*page, admit=self.admit)

    def begin(self) -> Sweep:
        return Sweep(
            self.storage,
            database=self.work.database,
            admit=self.admit,
            recipe_id=self.work.recipe.id,
            run_id=self.work.run.id,
            page_size=2,
            recorder=RunRecorder(),
        )

    def sweep(self, **options) -> PageCounts:
        sweep, counts = self.begin(), PageCounts()
        while True:
            swept = sweep.go_on(**options)
            counts += swept.counts
            if swept.exhausted:
                return counts

    def claimed(self) -> list[str]:
        claims = self.work.claim(selection=Selection(uri_prefix=f"{self.storage.url}/"))
        return [claim.video.uri.removeprefix(f"{self.storage.url}/") for claim in claims]

    def gone(self) -> list[str]:
        return self._names("gone_at IS NOT NULL")

    def current(self) -> list[str]:
        return self._names("gone_at IS NULL AND replaced_at IS NULL")

    def _names(self, which: str) -> list[str]:
        with self.work.database.begin() as connection:
            uris = connection.execute(text(f"SELECT uri FROM nightreel.videos WHERE {which} ORDER BY uri")).scalars()
            return [uri.removeprefix(f"{self.storage.url}/") for uri in uris]


@pytest.fixture
def source(work, tmp_path) -> Source:
    (tmp_path / "x").mkdir()
    return Source(work, tmp_path / "x")


def test_a_deleted_object_is_gone_and_not_claimed_until_it_is_back(source):
    source.put(*(f"{number}.mp4" for number in range(7)))
    source.know()
    (source.root / "3.mp4").unlink()
    (source.root / "6.mp4").unlink()
    assert source.sweep() == PageCounts(listed=5, known=5, gone=2)
    assert source.gone() == ["3.mp4", "6.mp4"]
    source.put("3.mp4")
    assert source.sweep() == PageCounts(listed=6, known=6, back=1)
    assert source.gone() == ["6.mp4"]
    assert source.claimed() == [f"{number}.mp4" for number in (0, 1, 2, 3, 4, 5)]
    assert source.sweep() == PageCounts(listed=6, known=6), "an object is counted as gone only once"


@pytest.mark.parametrize("deleted", [["0", "1"], ["2", "3"], ["4"], ["0", "1", "2", "3"], ["1", "2"], ["3", "4"]])
def test_a_gap_anywhere_in_a_page_is_found(source, deleted):
    source.put(*"01234")
    source.know()
    for name in deleted:
        (source.root / name).unlink()
    assert source.sweep().gone == len(deleted)
    assert source.gone() == deleted


def test_an_overwritten_object_is_a_new_version_and_new_work(source):
    source.put("a.mp4", "b.mp4")
    source.know()
    assert len(source.claimed()) == 2
    source.put("b.mp4", body="more", days=1)
    assert source.sweep() == PageCounts(listed=2, known=1, changed=1)
    assert source.claimed() == ["b.mp4"]
    with source.work.database.begin() as connection:
        versions = connection.execute(text("SELECT replaced_at IS NULL FROM nightreel.videos ORDER BY id")).scalars()
        assert list(versions) == [True, False, True]


def test_the_filter_of_a_night_applies_to_unknown_objects_only(source):
    source.put("known.mp4", "back.mp4", "changed.mp4")
    source.know()
    source.claimed()
    (source.root / "back.mp4").unlink()
    source.sweep()
    source.put("back.mp4", "unknown.mp4", "new.mp4")
    source.put("changed.mp4", body="more")
    source.put("new.mp4", days=2)
    source.admit = ListingFilter(since=MODIFIED + timedelta(days=1))
    assert source.sweep() == PageCounts(listed=5, filtered=2, new=1, changed=1, known=1, back=1)
    assert source.current() == ["back.mp4", "changed.mp4", "known.mp4", "new.mp4"]
    assert source.claimed() == ["new.mp4"], "objects that the filter excludes are not claimed"
    assert source.sweep() == PageCounts(listed=5, filtered=4, known=1), "each change is counted only once"


def test_filtered_objects_do_not_count_as_gone(source):
    source.put("a.gif", "b.mp4")
    source.know()
    source.admit = ListingFilter(suffixes=(".mp4",))
    assert source.sweep().gone == 0
    (source.root / "a.gif").unlink()
    assert source.sweep().gone == 1


def test_videos_of_other_sources_are_left_alone(source, work):
    source.put("a.mp4")
    source.know()
    base = source.storage.url
    others = [f"{base}0", f"{base}/".replace("/x/", "/w/z.mp4"), f"{base}-1/a.mp4", f"{base}", f"{base}1/b.mp4"]
    work.discover(*(StoredObject(uri=uri, etag="1", size_bytes=1, modified_at=MODIFIED) for uri in others))
    work.discover(stored("z.mp4"))
    (source.root / "a.mp4").unlink()
    source.put("0.mp4")
    assert source.sweep() == PageCounts(listed=1, new=1, gone=1)
    assert source.gone() == ["a.mp4"]


def test_names_with_odd_characters_sort_by_their_uris(source):
    names = ["z.mp4", "é.mp4", "ê.mp4", "a b.mp4", "a!b.mp4", "a-b.mp4", "a/b.mp4", "~.mp4", "%41.mp4", "日/本.mp4"]
    source.put(*names)
    source.know()
    assert source.sweep() == PageCounts(listed=10, known=10)
    (source.root / "é.mp4").unlink()
    (source.root / "a b.mp4").unlink()
    assert source.sweep().gone == 2
    assert source.gone() == ["%C3%A9.mp4", "a%20b.mp4"]


def test_objects_discovered_during_the_sweep_are_not_gone(source, monkeypatch):
    monkeypatch.setattr(stage, "_PAGES", 1)
    source.put(*"abcdef")
    source.know()
    sweep = source.begin()
    assert not sweep.go_on().exhausted
    source.put("z")  # the sweep has already read its directory
    source.know()
    while not (swept := sweep.go_on()).exhausted:
        assert swept.counts.gone == 0
    assert swept.counts.gone == 0
    assert "z" in source.current()


def test_a_broken_listing_continues_after_its_last_page_and_marks_no_unseen_object_as_gone(source):
    source.put(*"abcdefg")
    source.know()
    (source.root / "f").unlink()
    source.storage.breaks = [TransientError(Reason.STORAGE_UNREACHABLE, "for a moment")] * 2
    sweep = source.begin()
    first = sweep.go_on()
    assert (first.counts, first.exhausted) == (PageCounts(listed=2, known=2), False)
    assert source.gone() == []
    second = sweep.go_on()
    assert (second.counts, second.exhausted) == (PageCounts(listed=2, known=2), False)
    last = sweep.go_on()
    assert (last.counts, last.exhausted) == (PageCounts(listed=2, known=2, gone=1), True)


def test_a_lasting_error_is_raised_and_marks_nothing_as_gone(source):
    source.put(*"abcd")
    source.know()
    shutil.rmtree(source.root)
    with pytest.raises(PermanentError, match="no_such_source"):
        source.sweep()
    assert source.current() == [*"abcd"]


def test_an_empty_source_is_an_error_unless_it_may_be_empty(source):
    source.put(*"abcde")
    source.know()
    for name in "abcde":
        (source.root / name).unlink()
    with pytest.raises(PermanentError, match=r"source_empty.*mounted.*may_be_empty"):
        source.sweep()
    assert source.gone() == []
    assert source.sweep(may_be_empty=True) == PageCounts(gone=5)


def test_an_empty_source_without_known_videos_is_not_an_error(source):
    assert source.sweep() == PageCounts()


def test_a_disk_that_disappears_during_the_listing_marks_nothing_as_gone(source):
    source.put(*"abcd")
    source.know()

    def unmount(number: int) -> None:
        if number == 1:
            for name in "abcd":
                (source.root / name).unlink()

    source.put("e/f", "g/h")
    source.know()
    source.storage.before_page = unmount
    shutil.rmtree(source.root / "g")
    shutil.rmtree(source.root / "e")
    with pytest.raises(PermanentError, match="source_empty"):
        source.sweep()
    assert source.gone() == []


def test_a_store_that_lists_in_another_order_is_refused(source):
    source.put(*"abcd")
    source.know()
    (source.root / "c").unlink()
    source.storage.turned_round = True
    with pytest.raises(PermanentError, match=r"unordered_listing.*/a' after '.*/b'"):
        source.sweep()
    assert source.gone() == []


def test_objects_in_unreadable_directories_are_not_gone(work, open_directory):
    source = Source(work, open_directory)
    source.put("a.mp4", "closed/b.mp4", "closed/c.mp4", "d.mp4", "e.mp4")
    source.know()
    (source.root / "d.mp4").unlink()
    with closed(source.root / "closed"):
        assert source.sweep() == PageCounts(listed=2, known=2, gone=1, skipped=1)
    assert source.gone() == ["d.mp4"]


def test_many_gone_objects_are_marked_in_batches(source, monkeypatch):
    monkeypatch.setattr(stage, "_BATCH", 3)
    names = [f"{number:02}" for number in range(23)]
    source.put(*names)
    source.know()
    for name in names[1:20]:
        (source.root / name).unlink()
    assert source.sweep().gone == 19
    assert source.current() == ["00", "20", "21", "22"]
