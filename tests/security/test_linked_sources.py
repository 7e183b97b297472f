"""A neighbour who may write to a source cannot make a run read other files of the operator, by any kind of link."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.settings import Settings
from nightreel.storage import choose, open_storage
from nightreel.storage.local import LocalStorage

SECRET = b"the operator's secret"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file beside the source, in a directory of its own."""
    path = tmp_path / "private" / "secret.mp4"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "a").mkdir(parents=True)
    (path / "a" / "1.mp4").write_bytes(b"video")
    return path


def _chain(source: Path, secret: Path) -> str:
    (source / "last").symlink_to(secret)
    (source / "second").symlink_to("last")
    (source / "x.mp4").symlink_to("second")
    return "x.mp4"


def _linked_directory(source: Path, secret: Path) -> str:
    (source / "d").symlink_to(secret.parent)
    return "d/secret.mp4"


def _relative(source: Path, secret: Path) -> str:
    (source / "a" / "x.mp4").symlink_to("../../private/secret.mp4")
    return "a/x.mp4"


def _through_a_directory_inside(source: Path, secret: Path) -> str:
    (source / "d").symlink_to("a")
    (source / "a" / "x.mp4").symlink_to(secret)
    return "d/x.mp4"


def _magic_link(source: Path, secret: Path) -> str:
    (source / "d").symlink_to("/proc/self/root")
    return f"d{secret}"


def _sibling_with_the_same_start(source: Path, secret: Path) -> str:
    beside = source.with_name("source-private")
    beside.mkdir()
    (beside / "x.mp4").write_bytes(SECRET)
    (source / "x.mp4").symlink_to(beside / "x.mp4")
    return "x.mp4"


LINKS = [
    lambda source, secret: (source / "x.mp4").symlink_to(secret) or "x.mp4",
    _chain,
    _linked_directory,
    _relative,
    _through_a_directory_inside,
    _magic_link,
    _sibling_with_the_same_start,
]


def fetch(storage: LocalStorage, name: str, to: Path) -> bytes:
    storage.fetch(f"{storage.url}/{name}", etag=None, destination=to, max_bytes=1 << 20)
    return to.read_bytes()


@pytest.mark.parametrize("make", LINKS)
def test_a_link_that_leaves_the_source_is_neither_listed_nor_read(source, secret, tmp_path, make):
    name = make(source, secret)
    storage, skipped = LocalStorage(source), []
    uris = [item.uri for page in storage.list_pages(on_skipped=skipped.append) for item in page]
    assert uris == [f"{storage.url}/a/1.mp4"]
    assert any("out of" in line or "linked directory" in line for line in skipped), skipped
    for read in (
        lambda: fetch(storage, name, tmp_path / "fetched"),
        lambda: storage.read(f"{storage.url}/{name}"),
        lambda: storage.read_start(f"{storage.url}/{name}", most_bytes=10),
        lambda: storage.find(f"{storage.url}/{name}"),
        lambda: storage.exists(f"{storage.url}/{name}"),
    ):
        with pytest.raises(PermanentError, match="NIGHTREEL_FOLLOW_LINKS") as caught:
            read()
        assert caught.value.reason == "link_leaves_source"
    assert not (tmp_path / "fetched").exists()


def test_many_links_that_leave_are_counted_in_one_line(source, secret):
    for number in range(30):
        (source / f"{number}.mp4").symlink_to(secret)
    skipped = []
    assert len(list(LocalStorage(source).list_pages(on_skipped=skipped.append))) == 1
    assert len(skipped) == 11
    assert "30 links" in skipped[-1]


@pytest.mark.parametrize("make", [make for make in LINKS if make is not _magic_link])
def test_a_setting_lets_links_leave(source, secret, tmp_path, make):
    name = make(source, secret)
    assert fetch(LocalStorage(source, follow_links=True), name, tmp_path / "fetched") == SECRET
    settings = Settings(follow_links=True, _env_file=None)
    assert open_storage(str(source), settings).exists(f"file://{source}/{name}")


def test_links_inside_the_source_and_a_source_that_is_a_link_are_read(source, tmp_path):
    (source / "x.mp4").symlink_to("a/1.mp4")
    (source / "y.mp4").symlink_to(source / "a" / "1.mp4")
    (tmp_path / "link").symlink_to(source)
    storage = open_storage(str(tmp_path / "link"), Settings(_env_file=None))
    assert len([item for page in storage.list_pages() for item in page]) == 3
    assert storage.read(f"{storage.url}/x.mp4") == storage.read(f"{storage.url}/y.mp4") == b"video"


@pytest.mark.parametrize("swapped", ["a/1.mp4", "a"])
def test_a_file_or_directory_that_is_swapped_after_the_listing_is_not_read(source, secret, tmp_path, swapped):
    storage = LocalStorage(source)
    [[item]] = storage.list_pages()
    (source / swapped).rename(tmp_path / "before")
    target = secret.parent if swapped == "a" else secret
    (secret.parent / "1.mp4").write_bytes(SECRET)
    (source / swapped).symlink_to(target)
    with pytest.raises(NightreelError):
        storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "fetched", max_bytes=1 << 20)
    with pytest.raises(PermanentError, match="out of the source"):
        storage.read(item.uri)


def test_a_directory_that_is_swapped_during_the_listing_is_not_listed(source, secret, tmp_path, monkeypatch):
    (source / "b").mkdir()
    skipped, scan = [], os.scandir

    def scan_then_swap(place):
        if not isinstance(place, int) or (source / "b").is_symlink():
            return scan(place)
        entries = list(scan(place))
        assert {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)} == {"a", "b"}
        (source / "b").rename(tmp_path / "before")
        (source / "b").symlink_to(secret.parent)
        return _Entries(entries)

    monkeypatch.setattr(os, "scandir", scan_then_swap)
    names = [item.uri for page in LocalStorage(source).list_pages(on_skipped=skipped.append) for item in page]
    assert [name for name in names if "secret" in name] == []
    assert any("leads out of the source" in line for line in skipped), skipped


class _Entries(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing."""


def _device(source: Path) -> str:
    try:
        os.mknod(source / "x.mp4", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        (source / "x.mp4").symlink_to("/dev/zero")
    return "x.mp4"


def _socket(source: Path) -> str:
    listener = socket.socket(socket.AF_UNIX)
    before = Path.cwd()
    os.chdir(source)  # a path of a socket is short
    try:
        listener.bind("x.mp4")
    finally:
        os.chdir(before)
        listener.close()
    return "x.mp4"


SPECIAL = [
    _device,
    _socket,
    lambda source: os.mkfifo(source / "x.mp4") or "x.mp4",
    lambda source: (source / "x.mp4").symlink_to("/dev/zero") or "x.mp4",
    lambda source: (source / "x.mp4").symlink_to("/proc/self/environ") or "x.mp4",
    lambda source: (source / "x.mp4").symlink_to("/proc/self/mem") or "x.mp4",
    lambda source: (source / "x.mp4").symlink_to("/sys/kernel/notes") or "x.mp4",
]


@pytest.mark.parametrize("follow_links", [False, True])
@pytest.mark.parametrize("make", SPECIAL)
def test_devices_pipes_sockets_and_files_of_the_kernel_are_never_read(source, tmp_path, make, follow_links):
    storage = LocalStorage(source, follow_links=follow_links)
    name = make(source)
    skipped = []
    uris = [item.uri for page in storage.list_pages(on_skipped=skipped.append) for item in page]
    assert uris == [f"{storage.url}/a/1.mp4"]
    assert any("x.mp4" in line for line in skipped)
    with pytest.raises(PermanentError):
        fetch(storage, name, tmp_path / "fetched")


def test_a_pipe_is_not_even_opened(source, tmp_path):
    os.mkfifo(source / "x.mp4")
    opened = []
    sys.addaudithook(
        lambda event, found: opened.append(found[2]) if event == "open" and "x.mp4" in str(found) else None
    )
    with pytest.raises(PermanentError, match="named pipe"):
        fetch(LocalStorage(source), "x.mp4", tmp_path / "fetched")
    assert opened
    assert all(flags & os.O_PATH for flags in opened)


@pytest.mark.parametrize("place", ["/proc", "/sys"])
def test_directories_of_the_kernel_are_no_source(place):
    skipped = []
    assert not list(LocalStorage(Path(place)).list_pages(on_skipped=skipped.append))
    assert "is a directory of the kernel" in skipped[0]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/environ", "/sys/kernel/notes"])
def test_a_device_that_a_person_names_is_refused(path):
    if not Path(path).exists():
        pytest.skip(f"this machine has no {path}")
    with pytest.raises(SettingsError, match="expected a file or a directory of a disk"):
        choose([path], Settings(_env_file=None))


def test_a_pipe_that_a_person_names_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SettingsError, match="is a named pipe"):
        choose([str(tmp_path / "pipe.mp4")], Settings(_env_file=None))


def test_a_link_that_a_person_names_is_read_wherever_it_leads(source, secret):
    (source / "x.mp4").symlink_to(secret)
    settings = Settings(_env_file=None)
    choice = choose([str(source / "x.mp4")], settings)
    assert choice.only is not None
    assert open_storage(choice.source, settings).read(choice.only[0]) == SECRET


def test_no_descriptor_stays_open(source, secret):
    (source / "x.mp4").symlink_to(secret)
    os.mkfifo(source / "y.mp4")
    storage = LocalStorage(source)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("x.mp4", "y.mp4", "nothing.mp4"):
        with pytest.raises(PermanentError):
            storage.read(f"{storage.url}/{name}")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
