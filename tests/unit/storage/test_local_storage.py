import errno
import hashlib
import os
import shutil
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fixtures.rights import closed

from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.settings import Settings
from nightreel.storage import open_storage, walk

ODD_NAMES = [
    b"plain.mp4",
    b"with space & ? # % %41.mp4",
    b"new\nline.mp4",
    b"quote ' \" ` ; drop table.mp4",
    "ümlaut 日本 🎬.mp4".encode(),
    b"not utf-8 \xff\xfe.mp4",
    b"back\\slash.mp4",
    b"x" * 251 + b".mp4",
]


def write(path, data=b"data"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def storage_at(path):
    return open_storage(str(path), Settings(_env_file=None))


def listed(storage, **options):
    return [item for page in storage.list_pages(**options) for item in page]


def error_of(error_class, operation):
    with pytest.raises(error_class) as caught:
        operation()
    return caught.value


# -- listing -----------------------------------------------------------------------------------------------------


def test_objects_are_listed_in_byte_order_like_on_s3(tmp_path):
    names = ["a.mp4", "a/b.mp4", "a-b.mp4", "a0.mp4", "a/b/c.mp4", "B.mp4", "a/b.mp4x", "z/y/x/w.mp4"]
    for name in names:
        write(tmp_path / name) if name != "a/b/c.mp4" else write(tmp_path / "a/b/c.mp4")
    uris = [item.uri for item in listed(storage_at(tmp_path))]
    assert uris == [f"file://{tmp_path}/{name}" for name in sorted(names, key=str.encode)]


def test_uris_are_listed_in_order_for_any_names(tmp_path):
    directories = [b"z", b"\xc3\xa9", b"a b", b"a!", b"a-b", b"a", b"~", b"Z%", b"a%20b"]
    for directory in directories:
        for name in [*ODD_NAMES[:-1], b"a!", b"a-", b"a b", b"~", b"z", b"\xc3"]:
            write(tmp_path / os.fsdecode(directory) / os.fsdecode(name))
    storage = storage_at(tmp_path)
    uris = [item.uri for item in listed(storage, page_size=7)]
    assert uris == sorted(uris)
    assert len(uris) == len(directories) * 13
    for position in range(0, len(uris), 11):
        assert [item.uri for item in listed(storage, start_after=uris[position])] == uris[position + 1 :]


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_a_listing_continues_after_any_uri(tmp_path, page_size):
    for name in ["a.mp4", "a/1.mp4", "a/2.mp4", "a/b/3.mp4", "a-.mp4", "b/c/d/e.mp4", "c.mp4"]:
        write(tmp_path / name)
    storage = storage_at(tmp_path)
    everything = listed(storage)
    assert len(everything) == 7
    for position, item in enumerate(everything):
        assert listed(storage, start_after=item.uri, page_size=page_size) == everything[position + 1 :]


def test_a_listing_continues_after_a_missing_uri(tmp_path):
    for name in ["a/1.mp4", "b/2.mp4", "c/3.mp4"]:
        write(tmp_path / name)
    storage = storage_at(tmp_path)
    gone = listed(storage)[1].uri
    (tmp_path / "b/2.mp4").unlink()
    (tmp_path / "b").rmdir()
    assert [item.uri for item in listed(storage, start_after=gone)] == [f"file://{tmp_path}/c/3.mp4"]


def test_pages_have_the_requested_size_and_are_never_empty(tmp_path):
    for number in range(7):
        write(tmp_path / f"{number}.mp4")
    assert [len(page) for page in storage_at(tmp_path).list_pages(page_size=3)] == [3, 3, 1]
    assert list(storage_at(write(tmp_path / "empty/.hidden").parent).list_pages()) == []


def test_odd_names_survive_listing_and_fetching(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ODD_NAMES:
        (source / os.fsdecode(name)).write_bytes(name)
    storage = storage_at(source)
    items = listed(storage)
    assert len(items) == len(ODD_NAMES)
    assert all(item.uri.isascii() and item.uri.isprintable() and " " not in item.uri for item in items)
    fetched = {
        storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=1000).path.read_bytes()
        for item in items
    }
    assert fetched == set(ODD_NAMES)


def test_a_directory_with_more_names_than_allowed_in_memory_is_read_in_parts(tmp_path):
    from nightreel.storage.walk import walk

    for number in range(50):
        write(tmp_path / f"{number:02}.mp4")
    write(tmp_path / "25/inner.mp4")
    names = list(walk(os.fsencode(tmp_path), start_after=b"", on_skipped=pytest.fail, names_held=7))
    assert names == sorted([f"{number:02}.mp4" for number in range(50)] + ["25/inner.mp4"])


def test_links_to_files_are_objects_and_links_to_directories_are_reported_not_followed(tmp_path):
    write(tmp_path / "outside/secret.mp4")
    source = tmp_path / "source"
    write(source / "a.mp4")
    (source / "file.mp4").symlink_to(tmp_path / "outside/secret.mp4")
    (source / "same.mp4").symlink_to(source / "a.mp4")
    (source / "loop").symlink_to(source)
    (source / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    (source / "itself.mp4").symlink_to(source / "itself.mp4")
    skipped = []
    names = [Path(item.uri).name for item in listed(storage_at(source), on_skipped=skipped.append)]
    assert names == ["a.mp4", "same.mp4"]
    assert len(skipped) == 5, "the link out of the source, and how many there are"
    assert all(any(name in line for line in skipped) for name in ("loop", "dangling.mp4", "itself.mp4"))


def test_hidden_files_and_pipes_are_not_listed(tmp_path):
    write(tmp_path / "a.mp4")
    write(tmp_path / ".part")
    write(tmp_path / ".trash/b.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert [item.uri for item in listed(storage_at(tmp_path))] == [f"file://{tmp_path}/a.mp4"]


def test_an_unreadable_directory_is_reported_and_the_rest_listed(open_directory):
    write(open_directory / "a.mp4")
    write(open_directory / "closed/b.mp4")
    skipped = []
    with closed(open_directory / "closed"):
        assert len(listed(storage_at(open_directory), on_skipped=skipped.append)) == 1
    assert len(skipped) == 1
    assert "closed" in skipped[0]


@pytest.mark.parametrize("seconds", [2**55, -(2**55), 253_402_300_800, -62_135_596_801])
def test_a_file_with_an_impossible_date_is_skipped_with_a_line(tmp_path, monkeypatch, seconds):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write(tmp_path / name)
    stat_of = os.lstat

    def dated(path, **options):  # few file systems store such a date: FUSE and network mounts report it
        status = stat_of(path, **options)
        if not os.fsencode(path).endswith(b"b.mp4"):
            return status
        fields = list(status)
        fields[stat.ST_MTIME] = seconds
        return os.stat_result(fields[:10], {"st_mtime": float(seconds), "st_mtime_ns": seconds * 10**9})

    monkeypatch.setattr(os, "lstat", dated)
    skipped = []
    assert [item.uri[-5:] for item in listed(storage_at(tmp_path), on_skipped=skipped.append)] == ["a.mp4", "c.mp4"]
    assert len(skipped) == 1
    assert "b.mp4" in skipped[0]
    assert str(seconds) in skipped[0]


@pytest.mark.parametrize("seconds", [0, -86_400, 4_102_444_800, 15_000_000_000])
def test_old_and_future_dates_are_dates(tmp_path, seconds):
    os.utime(write(tmp_path / "a.mp4"), (seconds, seconds))
    (item,) = listed(storage_at(tmp_path))
    assert item.modified_at.timestamp() == seconds


def test_a_file_and_a_directory_that_vanish_during_the_listing_are_skipped_with_a_line(tmp_path):
    for name in ("a.mp4", "b.mp4", "c/d.mp4", "e/f.mp4"):
        write(tmp_path / name)
    skipped = []
    pages = storage_at(tmp_path)._pages(None, 1, skipped.append)
    found = [next(pages)]
    (tmp_path / "b.mp4").unlink()
    shutil.rmtree(tmp_path / "c")
    found += pages
    assert [item.uri[-5:] for (item,) in found] == ["a.mp4", "f.mp4"]
    assert len(skipped) == 2
    assert "b.mp4" in skipped[0]
    assert "deleted" in skipped[0]
    assert "/c" in skipped[1]


def test_the_names_that_were_read_before_a_directory_broke_are_listed(tmp_path, monkeypatch):
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4"):
        write(tmp_path / name)

    class Breaks:
        """A directory on a disk that fails after two names."""

        def __init__(self, path):
            self._entries = scan(path)
            self._breaks = Path(f"/proc/self/fd/{path}").readlink().name == "a"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._entries.close()

        def __iter__(self):
            yield from self._entries
            if self._breaks:
                raise OSError(errno.EIO, "Input/output error")

    scan = os.scandir
    monkeypatch.setattr(walk.os, "scandir", lambda path: Breaks(path) if isinstance(path, int) else scan(path))
    skipped = []
    uris = [item.uri[-5:] for item in listed(storage_at(tmp_path), on_skipped=skipped.append)]
    assert uris == ["1.mp4", "2.mp4", "3.mp4"]
    assert len(skipped) == 1
    assert "Input/output error" in skipped[0]


def test_a_path_too_long_for_the_database_is_skipped_with_a_line(tmp_path):
    deep = tmp_path.joinpath(*(f"{number:03}" + "日" * 80 for number in range(4)))
    write(deep / "a.mp4")
    write(tmp_path / "b.mp4")
    skipped = []
    assert [item.uri[-5:] for item in listed(storage_at(tmp_path), on_skipped=skipped.append)] == ["b.mp4"]
    assert len(skipped) == 1
    assert "2,600" in skipped[0]


def test_a_closed_directory_of_a_source_is_not_the_whole_source(open_directory, tmp_path):
    write(open_directory / "sub/a.mp4")
    storage = storage_at(open_directory)
    (item,) = listed(storage)

    def fetch():
        storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "x", max_bytes=9)

    with closed(open_directory / "sub"):
        assert error_of(PermanentError, fetch).reason == "object_denied"
    for mode in (0, 0o644):  # closed, and open for listing alone
        with closed(open_directory, mode):
            assert error_of(PermanentError, fetch).reason == "access_denied"


def test_an_unreadable_source_or_file_causes_a_permanent_error(open_directory, tmp_path):
    path = write(open_directory / "sub/a.mp4")
    storage = storage_at(open_directory / "sub")
    (item,) = listed(storage)
    with closed(path):
        error = error_of(
            PermanentError, lambda: storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "x", max_bytes=9)
        )
    assert error.reason == "object_denied"
    with closed(path.parent):
        assert error_of(PermanentError, lambda: listed(storage)).reason == "access_denied"


def test_a_very_deep_directory_is_listed(tmp_path):
    depth = 700
    path = tmp_path
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        deeper = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor, path = deeper, path / "d"
    os.close(os.open("deep.mp4", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    assert [item.uri for item in listed(storage_at(tmp_path))] == [f"file://{path}/deep.mp4"]


def test_the_next_page_is_prepared_while_the_caller_uses_this_one(tmp_path, monkeypatch):
    for number in range(4):
        write(tmp_path / f"{number}.mp4")
    storage = storage_at(tmp_path)
    second_page_made = threading.Event()
    pages = storage._pages

    def watched(*arguments):
        for count, page in enumerate(pages(*arguments)):
            if count == 1:
                second_page_made.set()
            yield page

    monkeypatch.setattr(storage, "_pages", watched)
    listing = storage.list_pages(page_size=2)
    next(listing)
    assert second_page_made.wait(5)


# -- wrong sources -----------------------------------------------------------------------------------------------


def test_a_missing_directory_causes_an_error_and_not_an_empty_listing(tmp_path):
    error = error_of(PermanentError, lambda: listed(storage_at(tmp_path / "nowhere")))
    assert error.reason == "no_such_source"
    assert str(tmp_path / "nowhere") in error.detail


def test_a_file_as_source_is_refused(tmp_path):
    error = error_of(PermanentError, storage_at(write(tmp_path / "a.mp4")).check)
    assert error.reason == "no_such_source"
    assert "expected a directory" in error.detail


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no source is given"),
        ("gs://bucket/x", "gs://"),
        ("a\0b", "is not a path"),
        ("~no-such-user-here/x", "is not a path"),
        ("file://host/dir", "'host'"),
        ("s3://", "s3://bucket/prefix"),
        ("s3://KEY:SECRET@bucket/x", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_url_of_another_kind_is_refused_without_printing_secrets(url, says):
    error = error_of(SettingsError, lambda: open_storage(url, Settings(_env_file=None)))
    assert says in str(error)
    assert "SECRET" not in str(error)


def test_a_directory_and_its_file_url_are_the_same_source(tmp_path, monkeypatch):
    write(tmp_path / "ü b/a.mp4")
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "ü b"
    assert (
        listed(storage_at(directory))
        == listed(storage_at(directory.as_uri()))
        == listed(storage_at("ü b/"))
        == listed(storage_at(f"file://localhost{directory}".replace(" ", "%20")))
        != []
    )


# -- fetching ----------------------------------------------------------------------------------------------------


def test_a_fetched_file_has_all_bytes_and_their_hash(tmp_path):
    data = os.urandom(3_000_001)
    write(tmp_path / "source/a.mp4", data)
    storage = storage_at(tmp_path / "source")
    (item,) = listed(storage)
    fetched = storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out.mp4", max_bytes=len(data))
    assert fetched.path.read_bytes() == data
    assert (fetched.size_bytes, fetched.content_sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert item.size_bytes == len(data)


def test_an_overwritten_file_is_refused_and_leaves_no_copy(tmp_path):
    path = write(tmp_path / "source/a.mp4", b"old")
    storage = storage_at(tmp_path / "source")
    (item,) = listed(storage)
    time.sleep(0.01)
    path.write_bytes(b"new")
    out = tmp_path / "out"
    out.mkdir()
    error = error_of(
        TransientError, lambda: storage.fetch(item.uri, etag=item.etag, destination=out / "x", max_bytes=100)
    )
    assert error.reason == "object_changed"
    assert list(out.iterdir()) == []


def test_a_file_that_grows_while_it_is_copied_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "source/a.mp4", b"x" * 3_000_000)
    storage = storage_at(tmp_path / "source")
    (item,) = listed(storage)
    read = storage._read_block

    def growing(*arguments):
        with path.open("ab") as file:
            file.write(b"more")
        return read(*arguments)

    monkeypatch.setattr(storage, "_read_block", growing)
    fetch = lambda: storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=10**9)  # noqa: E731
    assert error_of(TransientError, fetch).reason == "object_changed"
    assert not (tmp_path / "out").exists()


def test_a_deleted_file_is_gone_and_a_vanished_source_is_unreachable(tmp_path):
    path = write(tmp_path / "source/a.mp4")
    storage = storage_at(tmp_path / "source")
    (item,) = listed(storage)
    path.unlink()

    def fetch():
        storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=100)

    assert error_of(PermanentError, fetch).reason == "object_gone"
    assert error_of(PermanentError, lambda: storage.read(item.uri)).reason == "object_gone"
    (tmp_path / "source").rmdir()
    assert error_of(TransientError, fetch).reason == "storage_unreachable"


def test_the_error_for_a_file_beyond_the_limit_names_the_setting(tmp_path):
    write(tmp_path / "a.mp4", b"x" * 11)
    storage = storage_at(tmp_path)
    (item,) = listed(storage)
    for operation in (
        lambda: storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=10),
        lambda: storage.read(item.uri, max_bytes=10),
    ):
        error = error_of(PermanentError, operation)
        assert error.reason == "limit_bytes"
        assert "NIGHTREEL_MAX_BYTES" in error.detail
        assert "11" in error.detail


@pytest.mark.parametrize("path", ["../outside.mp4", "a/../../outside.mp4", "%2e%2e/outside.mp4", "", "a//b", "a%00b"])
def test_a_uri_outside_the_source_is_refused(tmp_path, path):
    write(tmp_path / "outside.mp4")
    (tmp_path / "source").mkdir()
    storage = storage_at(tmp_path / "source")
    assert error_of(PermanentError, lambda: storage.read(f"{storage.url}/{path}")).reason == "outside_prefix"
    assert error_of(PermanentError, lambda: storage.delete(f"{storage.url}/{path}")).reason == "outside_prefix"
    assert (tmp_path / "outside.mp4").exists()


def test_a_named_pipe_that_took_the_place_of_a_file_does_not_hang_the_fetch(tmp_path):
    path = write(tmp_path / "a.mp4")
    storage = storage_at(tmp_path)
    (item,) = listed(storage)
    path.unlink()
    os.mkfifo(path)
    assert error_of(PermanentError, lambda: storage.read(item.uri)).reason == "object_gone"


# -- publishing --------------------------------------------------------------------------------------------------


def test_published_bytes_and_files_are_read_back_and_deleted(tmp_path):
    storage = storage_at(tmp_path / "made on demand")
    published = storage.publish("ab/cd.parquet", b"features")
    assert published.created
    assert published.size_bytes == 8
    assert storage.read(published.uri) == b"features"
    from_file = storage.publish("ef.parquet", write(tmp_path / "local", b"more features"))
    assert storage.read(from_file.uri) == b"more features"
    assert {item.uri for item in listed(storage)} == {published.uri, from_file.uri}
    assert storage.delete(published.uri)
    assert not storage.delete(published.uri)


def test_publishing_never_overwrites(tmp_path):
    storage = storage_at(tmp_path)
    storage.publish("a", b"first")
    again = storage.publish("a", b"second")
    assert not again.created
    assert again.size_bytes == 5
    assert storage.read(again.uri) == b"first"


def test_exactly_one_of_many_threads_creates_a_name(tmp_path):
    storage = storage_at(tmp_path)
    bodies = [bytes([number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda body: storage.publish("same", body), bodies))
    assert sum(result.created for result in results) == 1
    assert storage.read(results[0].uri) == bodies[[result.created for result in results].index(True)]
    assert list((tmp_path / ".incoming").iterdir()) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\0b", "a/"])
def test_a_name_cannot_leave_the_prefix(tmp_path, name):
    storage = storage_at(tmp_path / "cache")
    assert error_of(PermanentError, lambda: storage.publish(name, b"x")).reason == "bad_object_name"
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_publisher_are_deleted_after_a_day(tmp_path):
    old, young = write(tmp_path / ".incoming/old"), write(tmp_path / ".incoming/young")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    storage_at(tmp_path).publish("a", b"x")
    assert not old.exists()
    assert young.exists()


def test_checking_for_create_only_writes_leaves_no_file(tmp_path):
    storage = storage_at(tmp_path)
    storage.check_writable()
    assert listed(storage) == []


def test_an_unwritable_cache_causes_a_permanent_error(open_directory):
    with closed(open_directory, mode=0o555):
        assert error_of(PermanentError, storage_at(open_directory / "cache").check_writable).reason == "access_denied"
