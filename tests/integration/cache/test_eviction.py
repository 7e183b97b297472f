"""Eviction keeps the cache to a size: unused features go first, needed ones stay, and runs are not disturbed."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from fixtures.work import stored
from fixtures.work_cache import KEYS
from sqlalchemy import make_url, text

from nightreel.cache.eviction import CacheLimit, evict
from nightreel.cache.features import FeatureCache
from nightreel.database.backfills import KeyRange, add_backfill
from nightreel.database.connection import Database
from nightreel.database.eviction import sole_evictor
from nightreel.database.features import known_features, record_features
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason


def evict_to(at, limit_bytes: int, **options):
    return evict(at.database, at.cache, limit_bytes=limit_bytes, **options)


def test_the_least_recently_used_go_first_and_the_limit_is_kept(any_cache):
    keys = [any_cache.add(f"{age}.mp4", unused_s=age)[0] for age in (50, 10, 40, 20, 30)]
    whole = any_cache.size_bytes()
    done = evict_to(any_cache, whole // 2)
    assert done.features == 3
    assert done.reached
    assert done.held_bytes == any_cache.size_bytes() == whole - done.size_bytes <= whole // 2
    assert any_cache.indexed() == any_cache.files() == {keys[1], keys[3]}, "those unused for 10 and 20 seconds stay"
    for key in any_cache.indexed():
        any_cache.cache.get(any_cache.ref(key))


def test_an_eviction_takes_more_than_one_batch(local_cache, monkeypatch):
    monkeypatch.setattr("nightreel.cache.eviction._BATCH", 2)
    for age in range(7):
        local_cache.add(f"{age}.mp4", unused_s=age)
    told = []
    assert evict_to(local_cache, 0, on_progress=told.append).features == 7
    assert [progress.features for progress in told] == [2, 4, 6, 7]
    assert local_cache.files() == set()


def test_rows_and_thumbnails_outlive_their_features(local_cache):
    local_cache.add("a.mp4")
    evict_to(local_cache, 0)
    [(uri, pts_s, thumbnail_uri, evictions)] = local_cache.rows(
        "SELECT uri, pts_s, thumbnail_uri, evictions FROM nightreel.features"
    )
    assert (uri, pts_s, evictions) == (None, [0.0, 1.0], 1)
    assert local_cache.cache.delete(thumbnail_uri), "the thumbnail still existed"


def test_looking_a_feature_up_counts_as_use(local_cache):
    local_cache.add("old.mp4", unused_s=10)
    [older] = local_cache.add("older.mp4", unused_s=20)
    with local_cache.database.begin() as connection:
        known_features(connection, [older])
    evict_to(local_cache, local_cache.size_bytes() - 1)
    assert local_cache.files() == {older}


@pytest.mark.parametrize("status", ["pending", "claimed"])
def test_features_of_pending_or_claimed_work_are_kept_at_any_age(local_cache, status):
    needed = local_cache.add("needed.mp4", unused_s=1000, segments=2)
    local_cache.add("other.mp4", unused_s=1)
    local_cache.set_analysis("needed.mp4", f"status = '{status}'")
    done = evict_to(local_cache, 0)
    assert local_cache.indexed() == local_cache.files() == set(needed)
    assert (done.features, done.needed, done.reached) == (1, 2, False)


def test_a_new_prompt_keeps_the_features_of_its_videos_and_another_model_does_not(local_cache, open_work):
    needed = local_cache.add("needed.mp4", unused_s=1000)
    local_cache.add("other-model.mp4", unused_s=1000)
    prompts = local_cache.work.recipe.prompts
    open_work(prompts=type(prompts)("one", prompts.prompts[:1])).discover(stored("needed.mp4"))
    open_work(model="b" * 64).discover(stored("other-model.mp4"))
    evict_to(local_cache, 0)
    assert local_cache.files() == set(needed)


def test_pending_work_on_the_same_bytes_under_another_key_keeps_their_features(local_cache):
    needed = local_cache.add("a.mp4", unused_s=1000)
    local_cache.work.discover(stored("copy.mp4"))
    with local_cache.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE nightreel.videos SET content_sha256 = "
                "(SELECT content_sha256 FROM nightreel.videos WHERE uri = 's3://bucket/a.mp4') "
                "WHERE uri = 's3://bucket/copy.mp4'"
            )
        )
    evict_to(local_cache, 0)
    assert local_cache.files() == set(needed)


def test_features_that_a_running_run_has_not_listed_yet_are_kept(local_cache, open_work):
    needed = local_cache.add("here/needed.mp4", unused_s=1000)
    local_cache.add("here/too-old.mp4", unused_s=1000)
    local_cache.add("there/other.mp4", unused_s=1000)
    prompts = local_cache.work.recipe.prompts
    run = open_work(prompts=type(prompts)("one", prompts.prompts[:1])).run
    with local_cache.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE nightreel.runs SET source = 's3://bucket/here', "
                """options = '{"since": "2026-01-01T00:00:00Z", "until": null}' WHERE id = :id"""
            ),
            {"id": run.id},
        )
        connection.execute(text("UPDATE nightreel.videos SET modified_at = '2025-12-31' WHERE uri LIKE '%too-old%'"))
    evict_to(local_cache, 0)
    assert local_cache.files() == set(needed)
    run.finish("completed")
    evict_to(local_cache, 0)
    assert local_cache.files() == set()


@pytest.mark.parametrize(("status", "kept"), [("running", True), ("paused", True), ("cancelled", False)])
def test_features_that_a_backfill_has_not_reached_yet_are_kept(local_cache, open_work, status, kept):
    needed = local_cache.add("here/needed.mp4", unused_s=1000)
    local_cache.add("there/other.mp4", unused_s=1000)
    prompts = local_cache.work.recipe.prompts
    new = open_work(prompts=type(prompts)("one", prompts.prompts[:1]))
    new.run.finish("completed")
    with local_cache.database.begin() as connection:
        add_backfill(
            connection,
            source="s3://bucket/here",
            since=None,
            until=None,
            recipe_id=new.recipe.id,
            model="tiny",
            pool="pool",
            plan={},
            shards=[KeyRange(after_uri="", up_to_uri="s3://bucket/here/needed.mp4", videos=1)],
        )
        connection.execute(text("UPDATE nightreel.backfills SET status = :status"), {"status": status})
    evict_to(local_cache, 0)
    assert local_cache.files() == (set(needed) if kept else set())


def test_unfinished_work_on_replaced_versions_does_not_keep_their_features(local_cache):
    local_cache.add("a.mp4")
    local_cache.set_analysis("a.mp4", "status = 'pending'")
    local_cache.work.discover(stored("a.mp4", "2"))
    evict_to(local_cache, 0)
    assert local_cache.files() == set()


def test_a_dry_run_reports_what_it_would_delete_and_changes_nothing(local_cache):
    keys = {key for age in range(4) for key in local_cache.add(f"{age}.mp4", unused_s=age)}
    before = local_cache.rows("SELECT * FROM nightreel.features ORDER BY key")
    dry = evict_to(local_cache, local_cache.size_bytes() // 2, dry_run=True)
    assert dry.features == 2
    assert local_cache.files() == keys
    assert local_cache.rows("SELECT * FROM nightreel.features ORDER BY key") == before
    assert evict_to(local_cache, local_cache.size_bytes() // 2) == dry


def test_features_of_another_cache_are_left_alone(local_cache, tmp_path):
    local_cache.add("a.mp4")
    with local_cache.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.features SET uri = 's3://elsewhere/' || key"))
    assert evict_to(local_cache, 0).features == 0
    assert len(local_cache.indexed()) == 1


def test_the_eviction_lock_is_released_immediately(database):
    for _ in range(20):
        with sole_evictor(database) as won:
            assert won


def test_only_one_eviction_runs_at_a_time(local_cache):
    local_cache.add("a.mp4")
    with sole_evictor(local_cache.database) as won:
        assert won
        with pytest.raises(TransientError, match="eviction_elsewhere"):
            evict_to(local_cache, 0)
    assert evict_to(local_cache, 0).features == 1


class Refusing(FeatureCache):
    """A cache whose store refuses to delete some files."""

    def delete(self, uri: str) -> bool:
        if "/a" not in uri.removeprefix(self.url):
            raise PermanentError(Reason.ACCESS_DENIED, f"{uri}: may not be deleted")
        return super().delete(uri)


def test_files_that_cannot_be_deleted_stay_in_the_index(local_cache):
    keys = {local_cache.add(f"{number}.mp4")[0] for number in range(40)}
    deletable = {key for key in keys if key.startswith("a")}
    assert deletable, "without a deletable file, this test proves nothing"
    refusing = Refusing(local_cache.cache._storage, keys=KEYS)
    with pytest.raises(PermanentError, match="access_denied"):
        evict(local_cache.database, refusing, limit_bytes=0)
    assert local_cache.indexed() == local_cache.files() == keys - deletable


# -- races -------------------------------------------------------------------------------------------------------


class Interrupted(FeatureCache):
    """A cache that calls `happens` between the decision to delete a file and its deletion."""

    happens = staticmethod(lambda: None)

    def delete(self, uri: str) -> bool:
        self.happens()
        return super().delete(uri)


def recorded(at, key: str, evictions: int) -> set[str]:
    """Publish and record a feature under `key`, as a run does."""
    segment = at.publish(key, video_id=at.rows("SELECT id FROM nightreel.videos")[0][0])
    with at.database.begin() as connection:
        return record_features(connection, [segment], recipe=at.work.recipe, evictions={key: evictions})


def test_a_run_that_records_a_file_during_its_deletion_must_publish_it_again(local_cache):
    [key] = local_cache.add("a.mp4")
    interrupted = Interrupted(local_cache.cache._storage, keys=KEYS)
    outcomes = []
    run = threading.Thread(target=lambda: outcomes.append(recorded(local_cache, key, 0)))

    def adopt() -> None:
        run.start()
        while not local_cache.rows("SELECT FROM pg_locks WHERE NOT granted"):
            assert run.is_alive(), "the run must wait for the lock on the row"

    interrupted.happens = adopt
    evict(local_cache.database, interrupted, limit_bytes=0)
    run.join()
    assert outcomes == [set()], "the recorded file was deleted"
    assert recorded(local_cache, key, 1) == {key}
    local_cache.cache.get(local_cache.ref(key))


def test_a_file_that_was_indexed_again_after_the_decision_is_kept(local_cache, monkeypatch):
    [key] = local_cache.add("a.mp4")
    decide = "nightreel.cache.eviction.delete_unindexed"
    from nightreel.cache.eviction import delete_unindexed

    def late(*arguments, **options):
        assert recorded(local_cache, key, 0) == {key}
        return delete_unindexed(*arguments, **options)

    monkeypatch.setattr(decide, late)
    evict_to(local_cache, 0)
    local_cache.cache.get(local_cache.ref(key))


def test_rows_that_a_run_locks_are_skipped_without_waiting(local_cache):
    held, free = local_cache.add("a.mp4")[0], local_cache.add("b.mp4")[0]
    with local_cache.database.begin() as connection:
        known_features(connection, [held])
        evict_to(local_cache, 0)
    assert local_cache.indexed() == local_cache.files() == {held}
    assert free not in local_cache.files()


SLOWLY = """
CREATE SCHEMA slow;
CREATE FUNCTION slow.starts_with(text, text) RETURNS boolean LANGUAGE sql VOLATILE
    AS 'SELECT pg_sleep(0.5) IS NOT NULL AND pg_catalog.starts_with($1, $2)';
GRANT USAGE ON SCHEMA slow TO PUBLIC;
"""


def test_a_row_that_is_used_while_the_statement_runs_stays(local_cache, database_url, owner_url):
    [key] = local_cache.add("a.mp4", unused_s=1000)
    with closing(Database(owner_url)) as owner, owner.begin() as connection:
        connection.execute(text(SLOWLY))
    url = make_url(database_url).update_query_dict({"options": "-csearch_path=slow,pg_catalog"})
    slow = Database(url.render_as_string(hide_password=False))
    done = []
    with closing(slow):
        evictor = threading.Thread(target=lambda: done.append(evict(slow, local_cache.cache, limit_bytes=0)))
        evictor.start()
        while not local_cache.rows(
            "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%at_work%'"
        ):
            assert evictor.is_alive()
        with local_cache.database.begin() as connection:
            assert known_features(connection, [key])[key].ref is not None
        evictor.join()
    assert [eviction.features for eviction in done] == [0]
    local_cache.cache.get(local_cache.ref(key))


# -- a run's own limit -------------------------------------------------------------------------------------------


def test_a_run_measures_the_whole_cache_at_its_start_and_after_each_hundredth_of_the_limit(local_cache):
    for age in range(4):
        local_cache.add(f"{age}.mp4", unused_s=age)
    size = local_cache.size_bytes() // 4
    limit = CacheLimit(local_cache.database, local_cache.cache, limit_bytes=2 * size + size // 2)
    assert limit.make_room().features == 2
    local_cache.add("4.mp4")
    assert limit.make_room().features == 0, "the limit counts only published files"
    limit.published(size)
    assert limit.make_room().features == 1
    local_cache.add("5.mp4")
    assert limit.make_room(now=True).features == 1


def test_a_cache_that_cannot_shrink_causes_a_warning_and_does_not_end_the_run(local_cache, caplog):
    local_cache.add("a.mp4")
    refusing = Refusing(local_cache.cache._storage, keys=KEYS)
    key = next(iter(local_cache.indexed()))
    assert not key.startswith("a")
    assert CacheLimit(local_cache.database, refusing, limit_bytes=1).make_room().features == 0
    assert "access_denied" in caplog.text
    local_cache.set_analysis("a.mp4", "status = 'pending'")
    CacheLimit(local_cache.database, local_cache.cache, limit_bytes=1).make_room()
    assert "needs 1 features" in caplog.text
