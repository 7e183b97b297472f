"""Previews on disk: private, whole or not there, and within a limit."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest

from nightreel.cache.previews import PreviewStore

A, B = (hashlib.sha256(name.encode()).hexdigest() for name in "ab")
KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(5)]


@pytest.fixture
def store(tmp_path):
    return PreviewStore(tmp_path / "previews", 100)


def test_a_preview_is_read_as_it_was_stored(store):
    assert store.read(A, KEYS[0]) is None
    assert store.contents() == []
    store.put(A, KEYS[0], b"film")
    assert store.has(A, KEYS[0])
    assert store.read(A, KEYS[0]) == b"film"
    assert store.read(B, KEYS[0]) is None, "a preview belongs to one content"


def test_the_least_recently_used_go_first(store, tmp_path):
    for age, key in enumerate(KEYS[:3]):
        store.put(A, key, bytes(30))
        os.utime(tmp_path / "previews" / A / f"{key}.webm", (age, age))
    store.read(A, KEYS[0])
    store.put(B, KEYS[3], bytes(30))
    assert [store.has(A, key) for key in KEYS[:3]] == [True, False, True]
    assert store.has(B, KEYS[3])


def test_the_newest_stays_even_if_it_is_larger_than_the_limit(store):
    store.put(A, KEYS[0], bytes(30))
    store.put(A, KEYS[1], bytes(500))
    assert [store.has(A, key) for key in KEYS[:2]] == [False, True]


def test_what_a_killed_process_left_half_written_counts_and_goes(store, tmp_path):
    store.put(A, KEYS[0], bytes(10))
    left = tmp_path / "previews" / A / "0123"
    left.write_bytes(bytes(95))
    os.utime(left, (1, 1))
    store.put(A, KEYS[1], bytes(10))
    assert not left.exists()
    assert store.has(A, KEYS[0])


def test_all_previews_of_a_content_are_erased(store, tmp_path):
    store.put(A, KEYS[0], b"one")
    store.put(A, KEYS[1], b"two")
    store.put(B, KEYS[0], b"three")
    assert store.contents() == sorted([A, B])
    assert store.erase([A]) == 2
    assert store.erase([A]) == 0
    assert list((tmp_path / "previews").rglob("*.webm")) == [tmp_path / "previews" / B / f"{KEYS[0]}.webm"]
    assert store.contents() == [B]


def test_other_users_cannot_read_them(store, tmp_path):
    store.put(A, KEYS[0], b"film")
    for path in (tmp_path / "previews", *(tmp_path / "previews").rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_name_that_is_no_hash_reaches_no_file(store):
    for content, key in (("../x", KEYS[0]), (A, "../x"), (A, KEYS[0] + "/..")):
        with pytest.raises(AssertionError):
            store.read(content, key)
