"""Files and several paths as one source, and what to take of it."""

from __future__ import annotations

import os

import pytest

from nightreel.errors import SettingsError
from nightreel.settings import Settings
from nightreel.storage import Choice, choose, open_storage

NAMES = ("a/1.mp4", "a/2.mp4", "b c/é.mp4", "3.dav", ".hidden.mp4")


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    for name in NAMES:
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "videos")
    return Settings(_env_file=None)


@pytest.mark.parametrize(
    ("paths", "source", "only"),
    [
        (["a/1.mp4"], "/a", ["/a/1.mp4"]),
        (["a/1.mp4", "./a/2.mp4", "a/1.mp4"], "/a", ["/a/1.mp4", "/a/2.mp4"]),
        (["a/2.mp4", "b c/é.mp4"], "", ["/a/2.mp4", "/b%20c/%C3%A9.mp4"]),
        (["b c", "a/1.mp4"], "", ["/a/1.mp4", "/b%20c/"]),
        (["a", "a/1.mp4", "3.dav"], "", ["/3.dav", "/a/"]),
        ([".hidden.mp4"], "", ["/.hidden.mp4"]),
        (["a", "."], "", None),
    ],
)
def test_named_paths_become_their_nearest_source_and_a_list(settings, tmp_path, paths, source, only):
    root = (tmp_path / "videos").as_uri()
    chosen = choose(paths, settings)
    assert chosen == Choice(f"{root}{source}", only and tuple(f"{root}{name}" for name in only))
    url = open_storage(chosen.source, settings).url
    assert all(uri.startswith(f"{url}/") for uri in chosen.only or ())


def test_one_directory_is_a_source_as_before(settings):
    assert choose(["a"], settings) == Choice("a", None)
    assert choose(["s3://bucket/videos"], settings) == Choice("s3://bucket/videos", None)


def test_paths_that_share_only_the_root_have_the_disk_as_source(settings, tmp_path):
    chosen = choose([str(tmp_path), "/etc"], settings)
    assert chosen == Choice("file:///", ("file:///etc/", f"{tmp_path.as_uri()}/"))
    assert open_storage(chosen.source, settings).find("file:///etc/passwd").uri == "file:///etc/passwd"


def test_prefixes_of_one_bucket_are_one_source(settings):
    chosen = choose(["s3://bucket/x/y", "s3://bucket/x/z/"], settings)
    assert chosen == Choice("s3://bucket/x", ("s3://bucket/x/y/", "s3://bucket/x/z/"))


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a/1.mp", "a"], "did you mean '1.mp4'?"),
        (["aa"], "did you mean 'a'?"),
        (["/nowhere/at/all"], "'/nowhere/at/all' is neither a file nor a directory"),
        (["a", "s3://bucket/x"], "s3://bucket, this disk"),
        (["s3://bucket/x", "s3://other/x"], "s3://bucket, s3://other"),
        (["a", "ftp://host/x"], "ftp://"),
        (["a", ""], "NIGHTREEL_SOURCE"),
    ],
)
def test_paths_that_no_source_holds_are_refused(settings, paths, said):
    with pytest.raises(SettingsError) as caught:
        choose(paths, settings)
    assert said in str(caught.value)


def test_a_name_that_is_not_utf_8_can_be_chosen(settings, tmp_path):
    (tmp_path / "videos" / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    assert choose([os.fsdecode(b"\xff.mp4")], settings).only == (f"{(tmp_path / 'videos').as_uri()}/%FF.mp4",)


def test_an_object_is_found_as_the_listing_has_it(settings, tmp_path):
    storage = open_storage(str(tmp_path / "videos"), settings)
    listed = {item.uri: item for page in storage.list_pages() for item in page}
    assert len(listed) == 4
    assert {uri: storage.find(uri) for uri in listed} == listed
    assert storage.find(f"{storage.url}/a/3.mp4") is storage.find(f"{storage.url}/a") is None
