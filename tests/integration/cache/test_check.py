"""The check compares the index with the files: it finds and names each disagreement, and repairs it on request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from fixtures.work_cache import cache_at, features
from sqlalchemy import text

from nightreel.cache.check import CacheCheck, Problem
from nightreel.cache.eviction import evict
from nightreel.database.eviction import sole_evictor
from nightreel.errors import PermanentError
from nightreel.settings import load_settings
from nightreel.storage import open_storage

STRAY = "5" * 64


def check(at, **options):
    """A check that also covers files written just now; -5 s of grace allows for stores that round times."""
    checked = CacheCheck(at.database, at.cache, **{"grace_s": -5, **options})
    return list(checked.findings()), checked.counts


def problems(at, **options) -> Counter:
    return Counter(finding.problem for finding in check(at, **options)[0])


def replace_file(at, uri: str, data: bytes) -> None:
    assert at.cache.delete(uri)
    open_storage(at.prefix, load_settings()).publish(uri.removeprefix(f"{at.prefix}/"), data)


def damage(at, uri: str) -> None:
    data = bytearray(open_storage(at.prefix, load_settings()).read(uri))
    data[-100] ^= 1
    replace_file(at, uri, bytes(data))


def break_each_way(at) -> dict[str, Problem]:
    """Cause each disagreement once; returns the uris with their problems."""
    lost, short, flipped, evicted, pictureless = (at.ref(at.add(f"{name}.mp4")[0]) for name in "abcde")
    at.add("good.mp4", segments=3)
    at.cache.delete(lost.uri)
    replace_file(at, short.uri, b"PAR1")
    damage(at, flipped.uri)
    with at.database.begin() as connection:
        connection.execute(text(f"UPDATE nightreel.features SET uri = NULL WHERE key = '{evicted.key}'"))
    thumbnail = pictureless.uri.replace(".parquet", ".jpg")
    at.cache.delete(thumbnail)
    stray = at.publish(STRAY)
    return {
        lost.uri: Problem.NO_FILE,
        short.uri: Problem.WRONG_SIZE,
        flipped.uri: Problem.DAMAGED,
        evicted.uri: Problem.NO_ROW,
        thumbnail: Problem.NO_THUMBNAIL,
        stray.feature.uri: Problem.NO_ROW,
        str(stray.thumbnail_uri): Problem.NO_ROW,
    }


def test_each_disagreement_is_found_and_repaired(any_cache):
    broken = break_each_way(any_cache)
    found, counts = check(any_cache, deep=True)
    assert {finding.uri: finding.problem for finding in found} == broken
    assert not any(finding.repaired for finding in found)
    assert counts.rows == 8
    assert {finding.uri: finding.problem for finding in check(any_cache, deep=True)[0]} == broken, "nothing is repaired"
    assert Problem.DAMAGED not in problems(any_cache), "only a deep check reads the files"
    repaired, _ = check(any_cache, deep=True, repair=True)
    assert {finding.uri: finding.problem for finding in repaired if finding.repaired} == broken
    assert check(any_cache, deep=True)[0] == []
    assert any_cache.indexed() == any_cache.files()
    assert len(any_cache.files()) == 4, "the intact files, and the one that lost its thumbnail"
    for key in any_cache.files():
        any_cache.cache.get(any_cache.ref(key))


def test_a_consistent_cache_has_no_findings_even_after_an_eviction(any_cache):
    assert check(any_cache)[0] == [], "nothing has been stored yet"
    for age in range(4):
        any_cache.add(f"{age}.mp4", unused_s=age)
    evict(any_cache.database, any_cache.cache, limit_bytes=any_cache.size_bytes() // 2)
    found, counts = check(any_cache, deep=True, repair=True)
    assert (found, counts.rows, counts.files, counts.left, counts.foreign) == ([], 4, 6, 0, 0)


def test_the_check_covers_more_than_one_page(local_cache, monkeypatch):
    monkeypatch.setattr("nightreel.cache.check._PAGE", 2)
    for number in range(5):
        local_cache.add(f"{number}.mp4", segments=2)
    assert check(local_cache)[0] == []
    lost = sorted(local_cache.indexed())[::3]
    for key in lost:
        local_cache.cache.delete(local_cache.ref(key).uri)
    found, counts = check(local_cache)
    assert [finding.key for finding in found] == lost
    assert (counts.rows, counts.files) == (10, 16)


def test_a_young_file_without_a_row_is_kept_because_a_run_may_soon_record_it(local_cache):
    local_cache.add("a.mp4")
    old, young = (local_cache.publish(digit * 64) for digit in "12")
    for uri in (old.feature.uri, str(old.thumbnail_uri)):
        os.utime(uri.removeprefix("file://"), (time.time() - 3700,) * 2)
    found, counts = check(local_cache, repair=True, grace_s=3600)
    assert {finding.uri for finding in found} == {old.feature.uri, old.thumbnail_uri}
    assert counts.left == 2
    assert local_cache.cache.exists(young.feature.uri)
    assert not local_cache.cache.exists(old.feature.uri)


def test_a_row_used_since_the_check_started_is_left_alone(local_cache):
    [key] = local_cache.add("a.mp4", unused_s=-60)
    local_cache.cache.delete(local_cache.ref(key).uri)
    local_cache.add("b.mp4")
    found, counts = check(local_cache, repair=True)
    assert (found, counts.left) == ([], 1)
    assert key in local_cache.indexed()


def test_files_that_an_eviction_is_deleting_are_not_reported(local_cache):
    local_cache.add("a.mp4")
    with local_cache.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.features SET uri = NULL"))
    with sole_evictor(local_cache.database):
        found, counts = check(local_cache, repair=True)
    assert (found, counts.left) == ([], 1)
    assert problems(local_cache) == {Problem.NO_ROW: 1}


def test_files_that_a_listing_omits_do_not_count_as_lost(local_cache, monkeypatch):
    keys = set(local_cache.add("a.mp4", segments=2))
    monkeypatch.setattr(local_cache.cache, "files", lambda **_: iter(()))
    found, counts = check(local_cache, repair=True, all_gone=True)
    assert (found, counts.left) == ([], 4)
    assert local_cache.indexed() == keys


def test_foreign_files_are_never_touched(local_cache):
    local_cache.add("a.mp4")
    storage = open_storage(local_cache.prefix, load_settings())
    names = ("holiday.mp4", f"aa/{STRAY}.parquet", f"55/{STRAY}.mp4", "55/notes.parquet")
    uris = [storage.publish(name, b"theirs").uri for name in names]
    found, counts = check(local_cache, repair=True)
    assert (found, counts.foreign) == ([], 4)
    assert all(storage.exists(uri) for uri in uris)


def test_an_unmounted_disk_does_not_delete_the_whole_index(local_cache, tmp_path):
    keys = set(local_cache.add("a.mp4", segments=3))
    (tmp_path / "features").rename(tmp_path / "elsewhere")
    assert problems(local_cache) == {Problem.NO_FILE: 3, Problem.NO_THUMBNAIL: 3}
    with pytest.raises(PermanentError, match=r"cache_empty: .* 3 features .* mount it"):
        check(local_cache, repair=True)
    assert local_cache.indexed() == keys
    check(local_cache, repair=True, all_gone=True)
    assert local_cache.indexed() == set()


# -- crashes -----------------------------------------------------------------------------------------------------

# Evicts everything and dies by SIGKILL: right before or after it deletes the n-th file, or before the second commit.
DYING = """
import os, signal, sys
import nightreel.cache.eviction as eviction
from nightreel.database.connection import Database
from nightreel.cache.features import FeatureCache
from nightreel.cache.signing import CacheKeys
from nightreel.settings import load_settings
from nightreel.storage import open_storage

prefix, point, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(FeatureCache):
    def delete(self, uri):
        global left
        left -= 1
        if point == "before" and left < 0:
            die()
        super().delete(uri)
        if point == "after" and left <= 0:
            die()

if point == "commit":
    eviction.note_deleted = lambda *_: die()
eviction._DELETIONS_AT_ONCE = 1
settings = load_settings()
database = Database(settings.database_url.get_secret_value())
eviction.evict(database, Dying(open_storage(prefix, settings), keys=CacheKeys([bytes(32)])), limit_bytes=0)
"""


@pytest.mark.parametrize(
    ("any_cache", "point", "deleted"),
    [("directory", "before", 0), ("directory", "after", 3), ("bucket", "after", 3), ("directory", "commit", 6)],
    indirect=["any_cache"],
)
def test_a_check_repairs_an_eviction_that_was_killed_anywhere(any_cache, database_url, point, deleted):
    keys = set(any_cache.add("a.mp4", segments=6))
    environment = {**os.environ, "NIGHTREEL_DATABASE_URL": database_url}
    command = [sys.executable, "-c", DYING, any_cache.prefix, point, str(deleted)]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = any_cache.files()
    assert len(left) == 6 - deleted
    assert any_cache.indexed() == set(), "no row refers to a file that may be deleted"
    found, _ = check(any_cache, repair=True)
    assert {(finding.problem, finding.key, finding.repaired) for finding in found} == {
        (Problem.NO_ROW, key, True) for key in left
    }
    assert any_cache.files() == any_cache.indexed() == set()
    assert check(any_cache)[0] == []
    # The dead process blocks no other: a feature that it evicted can be published and evicted again.
    fresh = cache_at(any_cache.prefix)
    assert fresh.put(features(min(keys))).size_bytes > 1000
    any_cache.add("b.mp4")
    assert evict(any_cache.database, any_cache.cache, limit_bytes=0).features == 1
