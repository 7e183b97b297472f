"""Erasure on a real Postgres: what goes, what stays, what it refuses, and what discovery does afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode

import psycopg
import pytest
from fixtures.work import stored
from fixtures.work_cache import cache_at, features
from fixtures.work_reviewed import Desk
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nightreel.cache.eviction import evict
from nightreel.cache.previews import PreviewStore
from nightreel.database.discovery import ListingFilter, PageCounts, discover_page
from nightreel.database.erasures import ErasureKind, FilesLeftError, erase_rows, versions_of_key
from nightreel.database.legal_holds import add_hold, list_holds, remove_hold
from nightreel.database.saved_searches import save_search
from nightreel.database.tombstones import refuse_erased
from nightreel.database.webhooks import NewWebhook, add_webhook
from nightreel.domain import StoredObject, TombstoneKey
from nightreel.domain.cases import Ruling
from nightreel.domain.queues import Queue, Queues
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.review.deciding import NewRuling, appeal, decide
from nightreel.review.golden import add_golden_item
from nightreel.review.history import read_history
from nightreel.settings import Settings
from nightreel.stages.erase import ErasureReport, apply_retention, erase, erasing_key
from nightreel.stages.erase_target import find_target
from nightreel.stages.tombstones import read_tombstone_key

URI = "s3://bucket/a.mp4"
SAME = "ab" * 32
KEPT = (
    "SELECT id, batch_id, case_id, prompt_id, tag, stage, ruling, user_id, decided_at, seconds_spent "
    "FROM nightreel.decisions ORDER BY id"
)


@dataclass
class Eraser:
    """Erases videos of a desk, with a cache in a directory."""

    desk: Desk
    settings: Settings
    forgotten: list = field(default_factory=list)

    @property
    def database(self):
        return self.desk.work.database

    def erase(self, what: str = URI, *, copies: bool = False, key: TombstoneKey | None = None) -> ErasureReport:
        key = key or erasing_key(self.settings, self.database)
        with self.database.begin() as connection:
            target = find_target(connection, what, key)
        return erase(
            self.settings,
            self.database,
            [*target.versions, *(target.copies if copies else ())],
            kind=ErasureKind.ASKED,
            made_by="ada",
            reason="asked",
            key=key,
            forget=lambda mention: self.forgotten.append(mention) or {"flow_runs": 0},
        )

    def discover(self, *items: StoredObject) -> PageCounts:
        with self.database.begin() as connection:
            return discover_page(
                connection,
                items,
                admit=ListingFilter(),
                recipe_id=self.desk.work.recipe.id,
                run_id=self.desk.work.run.id,
                tombstone_key=read_tombstone_key(self.settings),
            )

    def mentions(self, *needles: str) -> list[tuple[str, str]]:
        """Our tables with one of these texts."""
        tables = [row[0] for row in self.desk.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'nightreel'")]
        return [
            (table, needle)
            for table in tables
            for needle in needles
            if self.desk.rows(f"SELECT count(*) FROM nightreel.{table} AS one WHERE strpos(one::text, '{needle}') > 0")[
                0
            ][0]
        ]


@pytest.fixture
def eraser(desk, tmp_path) -> Eraser:
    return Eraser(desk, Settings(_env_file=None, work_dir=tmp_path / "work"))


def publish(eraser: Eraser, video_id: int) -> tuple[str, str]:
    """Give the first segment of a video real files. Returns their paths."""
    key = hashlib.sha256(str(video_id).encode()).hexdigest()
    cache = cache_at(eraser.settings.cache_prefix)
    ref, thumbnail = cache.put(features(key)), cache.put_thumbnail(key, b"jpeg")
    with eraser.database.begin() as connection:
        for statement in (
            "INSERT INTO nightreel.features (key, uri, size_bytes, sha256, pts_s, damaged_frames, decoder, "
            "decoder_version, thumbnail_uri, content_sha256) "
            f"SELECT '{key}', '{ref.uri}', {ref.size_bytes}, '{ref.sha256}', pts_s, 0, decoder, decoder_version, "
            f"'{thumbnail}', content_sha256 FROM nightreel.features WHERE key = '{video_id}-0'",
            f"UPDATE nightreel.answers SET feature_key = '{key}' WHERE feature_key = '{video_id}-0'",
            f"DELETE FROM nightreel.features WHERE key = '{video_id}-0'",
        ):
            connection.execute(text(statement))
    return ref.uri.removeprefix("file://"), thumbnail.removeprefix("file://")


@pytest.fixture
def analysed(eraser) -> Callable[..., int]:
    def make(name: str = "a", **more) -> int:
        video_id = eraser.desk.analyse(name, **{"violence": 0.9} | more)
        publish(eraser, video_id)
        return video_id

    return make


def decide_with_a_note(desk) -> int:
    case = desk.take("ann")
    rulings = [
        NewRuling(prompt_id=one.prompt_id, ruling=Ruling.CONFIRM, start_s=1, end_s=2, note=f"see {URI}")
        for one in case.findings
    ]
    desk.call(decide, "ann", case.case_id, version=case.version, rulings=rulings)
    return case.case_id


def test_all_of_a_video_goes_and_who_decided_what_when_stays(eraser, analysed):
    desk = eraser.desk
    with eraser.database.begin() as connection:
        add_webhook(connection, NewWebhook(url="https://example.com", secret="s"))
    video_id = analysed("a", content=SAME)
    analysed("b")
    desk.call(appeal, "bob", decide_with_a_note(desk), reason=f"{URI} is a play")
    with eraser.database.begin() as connection:
        for statement in (
            f"UPDATE nightreel.runs SET options = jsonb_build_object('only', jsonb_build_array('{URI}'))",
            f"UPDATE nightreel.runs SET error = 'at {URI}'",
            f"UPDATE nightreel.runs SET counts = '{json.dumps({'quarantine': {'killed_runs': [{'uri': URI}]}})}'",
        ):
            connection.execute(text(statement))
    assert {table for table, _ in eraser.mentions(URI, SAME)} >= {
        "videos",
        "decisions",
        "case_events",
        "cases",
        "runs",
        "webhook_deliveries",
        "features",
    }
    before = desk.rows(KEPT)
    key = hashlib.sha256(str(video_id).encode()).hexdigest()

    report = eraser.erase()
    assert (report.counts["videos"], report.counts["contents"], report.counts["blanked_decisions"], report.files) == (
        1,
        1,
        1,
        2,
    )
    assert report.counts["answers"] == 4
    assert report.counts["webhook_deliveries"] >= 1
    assert eraser.mentions(URI, SAME, key) == []
    assert list(eraser.settings.work_dir.rglob(f"{key}*")) == []
    assert len(list(eraser.settings.work_dir.rglob("*.parquet"))) == 1, "the other video keeps its features"
    assert [mention.uris for mention in eraser.forgotten] == [(URI,)]
    assert desk.rows(KEPT) == before
    (row,) = desk.rows("SELECT * FROM nightreel.decisions")
    assert (row.note, row.start_s, row.end_s, row.shown["p"], row.content) == (None, None, None, None, "erased:1:1")
    (shown,) = desk.rows("SELECT ruling, prompt, uri, note, stands FROM reporting.decisions")
    assert tuple(shown) == ("confirm", "violence", None, None, True)
    assert desk.states() == {"general/": "empty", "general/b": "open"}
    history = desk.call(read_history, "ann", row.case_id)
    assert [one.what for one in history][-1] == "erased"
    assert all("reason" not in one.detail for one in history)
    (logged,) = desk.rows("SELECT kind, made_by, reason, counts FROM reporting.erasures")
    assert (logged.kind, logged.made_by, logged.reason, logged.counts) == ("asked", "ada", "asked", report.counts)


def test_one_of_two_copies_goes_and_the_content_stays_with_the_other(eraser, analysed, desk):
    first = analysed("a", content=SAME)
    second = desk.analyse("b", violence=0.9, content=SAME)
    with eraser.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE nightreel.answers AS copy SET reused_from = original.id FROM nightreel.answers AS original, "
                "nightreel.segments AS one, nightreel.segments AS other WHERE original.segment_id = one.id AND "
                "copy.segment_id = other.id AND one.video_id = :first AND other.video_id = :second "
                "AND original.question_id = copy.question_id"
            ),
            {"first": first, "second": second},
        )
    desk.call(appeal, "bob", decide_with_a_note(desk), reason=f"{URI} is a play")
    report = eraser.erase()
    assert (report.kept_copies, report.counts["contents"], report.counts["features"]) == (1, 0, 0)
    assert eraser.mentions(URI) == []
    (row,) = desk.rows("SELECT note, content FROM nightreel.decisions")
    assert (row.note, row.content) == ("see erased:1", SAME), "what people wrote about the copy stays"
    assert desk.rows("SELECT count(*) FROM nightreel.answers WHERE reused_from IS NOT NULL")[0][0] == 0
    assert desk.rows("SELECT uri FROM reporting.cases")[0].uri == "s3://bucket/b.mp4"
    with eraser.database.begin() as connection:
        key = read_tombstone_key(eraser.settings)
        refuse_erased(connection, key, uri="s3://bucket/c.mp4", content_sha256=SAME)
        with pytest.raises(PermanentError, match="were erased"):
            refuse_erased(connection, key, uri=URI, content_sha256=SAME)


def test_all_copies_go_together(eraser, analysed, desk):
    analysed("a", content=SAME)
    desk.analyse("b", violence=0.9, content=SAME)
    publish(eraser, desk.video_ids["b"])
    with eraser.database.begin() as connection:
        connection.execute(text(f"INSERT INTO nightreel.golden_items (content, made_by) VALUES ('{SAME}', 'lea')"))
    report = eraser.erase(SAME)
    assert desk.rows("SELECT content FROM nightreel.golden_items")[0].content == "erased:1:1"
    assert (report.counts["videos"], report.counts["contents"], report.counts["features"]) == (2, 1, 2)
    assert eraser.mentions(SAME, URI, "s3://bucket/b.mp4") == []


def test_discovery_leaves_out_what_was_erased_and_takes_another_version(eraser, analysed):
    analysed("a", content=SAME)
    eraser.erase()
    counts = eraser.discover(stored("a.mp4"), stored("c.mp4"))
    assert (counts.erased, counts.new, counts.known) == (1, 1, 0)
    assert eraser.discover(stored("a.mp4", "2")).new == 1, "nobody can hide a video behind the key of an erased one"
    with eraser.database.begin() as connection, pytest.raises(PermanentError) as refused:
        refuse_erased(connection, read_tombstone_key(eraser.settings), uri="s3://bucket/d.mp4", content_sha256=SAME)
    assert refused.value.reason is Reason.ERASED


def test_a_tombstone_has_only_keyed_hashes(eraser, analysed):
    analysed("a", content=SAME)
    eraser.erase()
    assert eraser.mentions(URI, SAME) == []
    macs = {bytes(row.mac) for row in eraser.desk.rows("SELECT mac FROM nightreel.tombstones")}
    key = read_tombstone_key(eraser.settings)
    assert macs == {key.of_object(URI), key.of_version(URI, "1"), key.of_content(SAME), key.of_copy(URI, SAME)}
    assert not macs & {hashlib.sha256(part).digest() for part in (URI.encode(), SAME.encode(), bytes.fromhex(SAME))}
    path = eraser.settings.work_dir / "tombstone.key"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_host_without_the_secret_discovers_nothing_new(eraser, analysed, tmp_path):
    """It could bring back what another host erased."""
    analysed("a")
    eraser.erase()
    eraser.settings = Settings(_env_file=None, work_dir=tmp_path / "other host")
    with pytest.raises(PermanentError) as refused:
        eraser.discover(stored("c.mp4"))
    assert refused.value.reason is Reason.TOMBSTONE_KEY
    with pytest.raises(PermanentError):
        erasing_key(eraser.settings, eraser.database)
    assert not (tmp_path / "other host" / "tombstone.key").exists()
    eraser.settings = Settings(_env_file=None, work_dir=tmp_path, tombstone_key="x" * 32)
    with pytest.raises(PermanentError):
        eraser.discover(stored("c.mp4"))


def test_a_legal_hold_blocks_erasure_retention_and_eviction(eraser, analysed, desk):
    video_id = analysed("a", content=SAME)
    with eraser.database.begin() as connection:
        hold_id = add_hold(connection, content_sha256=SAME, reason="case 7 of the court", made_by="ada")
        connection.execute(text("UPDATE nightreel.videos SET discovered_at = now() - interval '90 days'"))
        connection.execute(text(f"UPDATE nightreel.features SET content_sha256 = '{SAME}'"))
        assert add_hold(connection, content_sha256=SAME, reason="again", made_by="ada") is None
        versions = versions_of_key(connection, URI)
    with pytest.raises(PermanentError, match="case 7 of the court") as refused:
        eraser.erase()
    assert refused.value.reason is Reason.LEGAL_HOLD
    with pytest.raises(PermanentError) as refused, eraser.database.begin() as connection:
        erase_rows(connection, versions, kind=ErasureKind.ASKED, made_by="x", reason="x", key=None)
    assert refused.value.reason is Reason.LEGAL_HOLD, "the function itself refuses"
    keeping = eraser.settings.model_copy(update={"keep_days": 30})
    assert apply_retention(keeping, eraser.database).erased == 0
    evicted = evict(eraser.database, cache_at(eraser.settings.cache_prefix), limit_bytes=0)
    assert (evicted.features, evicted.needed) == (0, 1)
    assert len(list(eraser.settings.work_dir.rglob("*.parquet"))) == 1
    with eraser.database.begin() as connection:
        assert remove_hold(connection, hold_id, removed_by="lea")
        assert not remove_hold(connection, hold_id, removed_by="lea")
    assert apply_retention(keeping, eraser.database).erased == 1
    assert eraser.mentions(URI, SAME) == []
    with eraser.database.begin() as connection:
        (hold,) = list_holds(connection, removed=True)
    assert (hold.uri, hold.content_sha256, hold.reason, hold.removed_by) == (None, None, None, "lea")
    assert video_id


def test_a_video_that_a_run_works_on_is_not_erased(eraser, desk):
    desk.work.discover(stored("a.mp4"))
    desk.work.claim()
    with pytest.raises(TransientError) as refused:
        eraser.erase()
    assert refused.value.reason is Reason.VIDEO_IN_WORK
    with eraser.database.begin() as connection:
        versions = versions_of_key(connection, URI)
    with pytest.raises(TransientError), eraser.database.begin() as connection:
        erase_rows(connection, versions, kind=ErasureKind.ASKED, made_by="x", reason="x", key=None)
    desk.work.die()
    assert eraser.erase().counts["videos"] == 1


def test_rows_stay_while_features_have_files(eraser, analysed):
    analysed("a")
    with eraser.database.begin() as connection:
        versions = versions_of_key(connection, URI)
    with pytest.raises(FilesLeftError), eraser.database.begin() as connection:
        erase_rows(connection, versions, kind=ErasureKind.ASKED, made_by="x", reason="x", key=None)
    assert eraser.desk.rows("SELECT count(*) FROM nightreel.videos")[0][0] == 1


def test_the_bound_of_a_shard_moves_to_the_key_before(eraser, analysed):
    analysed("a")
    analysed("b")
    eraser.desk.analyse("c")
    with eraser.database.begin() as connection:
        backfill = connection.execute(
            text(
                "INSERT INTO nightreel.backfills (source, recipe_id, model, pool, plan) "
                f"VALUES ('s3://bucket', {eraser.desk.work.recipe.id}, 'm', 'p', '{{}}') RETURNING id"
            )
        ).scalar_one()
        for number, after, up_to in ((1, "s3://bucket/", "b"), (2, "b", "s3://bucket0")):
            ends = [part if "://" in part else f"s3://bucket/{part}.mp4" for part in (after, up_to)]
            connection.execute(
                text(
                    "INSERT INTO nightreel.backfill_shards (backfill_id, number, after_uri, up_to_uri, videos) "
                    f"VALUES ({backfill}, {number}, '{ends[0]}', '{ends[1]}', 1)"
                )
            )
    eraser.erase("s3://bucket/b.mp4")
    bounds = eraser.desk.rows("SELECT after_uri, up_to_uri FROM nightreel.backfill_shards ORDER BY number")
    assert [tuple(row) for row in bounds] == [("s3://bucket/", URI), (URI, "s3://bucket0")]


def test_retention_erases_gone_videos_and_lets_them_return(eraser, analysed):
    analysed("a")
    analysed("b")
    with eraser.database.begin() as connection:
        connection.execute(text(f"UPDATE nightreel.videos SET gone_at = now() - interval '8 days' WHERE uri = '{URI}'"))
    assert apply_retention(eraser.settings, eraser.database).erased == 0, "there is no limit"
    keeping = eraser.settings.model_copy(update={"keep_gone_days": 7})
    assert apply_retention(keeping, eraser.database).erased == 1
    assert eraser.mentions(URI) == []
    assert [row.uri for row in eraser.desk.rows("SELECT uri FROM nightreel.videos")] == ["s3://bucket/b.mp4"]
    assert eraser.discover(stored("a.mp4")).new == 1
    (logged,) = eraser.desk.rows("SELECT kind, made_by, reason FROM nightreel.erasures")
    assert tuple(logged) == ("retention", "retention", "its object is gone")


def test_copies_in_the_spool_go(eraser, analysed):
    data = b"x" * 1000
    analysed("a", content=hashlib.sha256(data).hexdigest())
    place = eraser.settings.work_dir / "spool" / "1-dead" / "one"
    place.mkdir(parents=True)
    (place / "video").write_bytes(data)
    live = eraser.settings.work_dir / "spool" / "2-live" / "one"
    live.mkdir(parents=True)
    held = os.open(live.parent, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    (live / "video").write_bytes(data)
    (live / "other").write_bytes(b"y" * 1000)
    report = eraser.erase()
    os.close(held)
    assert report.spooled == 1
    assert [
        path.name for path in (eraser.settings.work_dir / "spool").rglob("*") if path.is_file() and path.name != "lock"
    ] == ["other"]


def test_previews_go(eraser, analysed):
    analysed("a", content=SAME)
    previews = PreviewStore.from_settings(eraser.settings)
    previews.put(SAME, "0" * 64, b"film")
    previews.put("b" * 64, "0" * 64, b"of another video")
    assert eraser.erase().previews == 1
    assert previews.contents() == ["b" * 64]


def test_retention_of_old_videos_keeps_the_version_away_and_takes_the_bytes_elsewhere(eraser, analysed):
    """Old bytes that somebody uploads again must be judged again."""
    analysed("a", content=SAME)
    with eraser.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET discovered_at = now() - interval '31 days'"))
    assert apply_retention(eraser.settings.model_copy(update={"keep_days": 30}), eraser.database).erased == 1
    assert eraser.discover(stored("a.mp4"), stored("b.mp4")).erased == 1
    with eraser.database.begin() as connection:
        refuse_erased(connection, read_tombstone_key(eraser.settings), uri="s3://bucket/b.mp4", content_sha256=SAME)


def test_what_people_wrote_about_a_golden_item_goes_too(eraser, analysed):
    desk = eraser.desk
    desk.bring(Queues((Queue(name="general", golden_share=1.0),)))
    desk.analyse("waiting", violence=None)
    known = analysed("a", violence=0.02, content=SAME)
    with eraser.database.begin() as connection:
        add_golden_item(connection, known, {"violence": True}, made_by="lea")
    decide_with_a_note(desk)
    assert desk.take("cleo").videos[0][1] == URI
    eraser.erase()
    assert eraser.mentions(SAME, URI) == []
    assert desk.rows("SELECT note FROM nightreel.decisions WHERE note IS NOT NULL") == []
    assert [row.correct for row in desk.rows("SELECT correct FROM reporting.reviewer_accuracy")] == [1]
    assert desk.take("bob").videos[0][1].endswith("waiting.mp4")


def test_what_the_console_keeps_does_not_name_it_any_more(eraser, analysed):
    analysed("a")
    ann = eraser.desk["ann"]
    with eraser.database.begin() as connection:
        save_search(connection, ann, "mine", urlencode({"q": "cat", "under": URI}), shared=False)
        save_search(connection, ann, "another", urlencode({"q": "cat"}), shared=False)
        ask = text(
            "INSERT INTO nightreel.requests (kind, detail, user_id) VALUES ('retry', CAST(:detail AS jsonb), :id)"
        )
        connection.execute(ask, {"detail": json.dumps({"reason": URI}), "id": ann.id})
    eraser.erase()
    assert eraser.mentions(URI, quote_plus(URI)) == []
    assert [row.name for row in eraser.desk.rows("SELECT name FROM nightreel.saved_searches")] == ["another"]


def test_overwritten_versions_are_gone_too(eraser, analysed):
    analysed("a", content=SAME)
    eraser.desk.analyse("a", etag="2", content="cd" * 32)
    with eraser.database.begin() as connection:
        change = "UPDATE nightreel.videos SET replaced_at = now() - interval '8 days' WHERE etag = '1'"
        connection.execute(text(change))
    assert apply_retention(eraser.settings.model_copy(update={"keep_gone_days": 7}), eraser.database).erased == 1
    assert eraser.mentions(SAME) == []
    assert [row.etag for row in eraser.desk.rows("SELECT etag FROM nightreel.videos")] == ["2"]


def test_erasure_knows_all_columns_that_name_a_video(desk):
    """A new one: let `nightreel.erase` remove it, then add it here. Columns named `content` it finds by itself."""
    names = (
        "uri",
        "content_sha256",
        "video_id",
        "thumbnail_uri",
        "after_uri",
        "up_to_uri",
        "etag",
        "detail",
        "note",
        "query",
    )
    found = desk.rows(
        "SELECT table_name || '.' || column_name FROM information_schema.columns JOIN pg_tables "
        "ON tablename = table_name AND schemaname = table_schema "
        f"WHERE schemaname = 'nightreel' AND column_name IN {names}"
    )
    assert {row[0] for row in found} == {
        "analyses.content_sha256",
        "analyses.detail",
        "analyses.uri",
        "analyses.video_id",
        "backfill_shards.after_uri",
        "backfill_shards.detail",
        "backfill_shards.up_to_uri",
        "case_events.detail",
        "decisions.note",
        "documents.video_id",
        "failed_segments.detail",
        "features.content_sha256",
        "features.thumbnail_uri",
        "features.uri",
        "findings.video_id",
        "legal_holds.content_sha256",
        "legal_holds.uri",
        "requests.detail",
        "saved_searches.query",
        "segments.video_id",
        "video_verdicts.video_id",
        "videos.content_sha256",
        "videos.etag",
        "videos.uri",
        "views_seen.video_id",
        "webhook_deliveries.video_id",
        "whole_answers.video_id",
    }


CHANGES = [
    "UPDATE nightreel.decisions SET note = NULL",
    "UPDATE nightreel.case_events SET detail = NULL",
    "UPDATE nightreel.erasures SET made_by = 'nobody'",
    "UPDATE nightreel.views_seen SET user_id = user_id",
    "DELETE FROM nightreel.erasures",
    "DELETE FROM nightreel.views_seen",
    "TRUNCATE nightreel.views_seen",
    "TRUNCATE nightreel.erasures CASCADE",
    "MERGE INTO nightreel.views_seen AS old USING nightreel.users AS one ON true WHEN MATCHED THEN DELETE",
    "DO $$BEGIN UPDATE nightreel.decisions SET note = NULL; END$$",
    # Functions that look like the one which may.
    "DO $$BEGIN EXECUTE E'UPDATE nightreel.decisions SET note = NULL "
    "/*\\nPL/pgSQL function nightreel.erase(jsonb) line 1*/'; END$$",
    "CREATE SCHEMA other; CREATE FUNCTION other.erase(jsonb) RETURNS void LANGUAGE plpgsql AS "
    "'BEGIN UPDATE nightreel.decisions SET note = NULL; END'; SELECT other.erase('{}')",
    "CREATE SCHEMA anightreel; CREATE FUNCTION anightreel.erase(jsonb) RETURNS void LANGUAGE plpgsql AS "
    "'BEGIN UPDATE nightreel.decisions SET note = NULL; END'; SELECT anightreel.erase('{}')",
    "CREATE SCHEMA a1nightreel; CREATE FUNCTION a1nightreel.erase(jsonb) RETURNS void LANGUAGE plpgsql AS "
    "'BEGIN UPDATE nightreel.decisions SET note = NULL; END'; SELECT a1nightreel.erase('{}')",
    "CREATE FUNCTION nightreel.erase(text) RETURNS void LANGUAGE plpgsql AS "
    "'BEGIN UPDATE nightreel.decisions SET note = NULL; END'; SELECT nightreel.erase('x'::text)",
    "CREATE FUNCTION nightreel.\"x nightreel.erase\"(jsonb) RETURNS void LANGUAGE plpgsql AS "
    "'BEGIN UPDATE nightreel.decisions SET note = NULL; END'; SELECT nightreel.\"x nightreel.erase\"('{}')",
    "CREATE FUNCTION nightreel.helper() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN UPDATE nightreel.decisions SET note = NULL; RETURN NULL; END'; CREATE TRIGGER helper AFTER INSERT ON "
    "nightreel.queues EXECUTE FUNCTION nightreel.helper(); INSERT INTO nightreel.queues (name) VALUES ('x')",
]  # fmt: skip


def test_only_the_function_that_erases_changes_kept_rows_not_even_the_owner(
    eraser, analysed, desk, owner_url, database_url, console_url
):
    analysed("a")
    analysed("z")
    desk.call(appeal, "bob", decide_with_a_note(desk), reason=f"{URI} is a play")
    with desk.console.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO nightreel.views_seen (user_id, what, case_id) "
                "SELECT :user_id, 'case', min(id) FROM nightreel.cases"
            ),
            {"user_id": desk["ann"].id},
        )
    eraser.erase("s3://bucket/z.mp4")
    tables = ("decisions", "case_events", "views_seen", "erasures")
    before = [desk.rows(f"SELECT * FROM nightreel.{table} ORDER BY id") for table in tables]
    for url in (owner_url, database_url, console_url):
        for statement in CHANGES:
            with psycopg.connect(url.replace("+psycopg", "")) as connection:
                with pytest.raises(psycopg.Error) as refused:
                    connection.execute(statement)
                assert refused.value.sqlstate == "42501", (url, statement, str(refused.value))
                connection.rollback()
    assert before == [desk.rows(f"SELECT * FROM nightreel.{table} ORDER BY id") for table in tables]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT nightreel.erase('{}')",
        "SELECT * FROM nightreel.tombstones",
        "SELECT * FROM nightreel.erasures",
        "INSERT INTO nightreel.erasures (kind, made_by, reason) VALUES ('asked', 'x', 'x')",
        "INSERT INTO nightreel.legal_holds (uri, reason, made_by) VALUES ('x', 'x', 'x')",
        "SELECT * FROM nightreel.views_seen",
    ],
)
def test_the_console_erases_nothing_and_holds_nothing(desk, statement):
    with pytest.raises((PermanentError, DBAPIError), match="permission denied"), desk.console.begin() as connection:
        connection.execute(text(statement))


def test_the_worker_writes_tombstones_only_by_erasing(desk):
    for statement in (
        "DELETE FROM nightreel.tombstones",
        "INSERT INTO nightreel.erasures (kind, made_by, reason) VALUES ('asked', 'x', 'x')",
        "INSERT INTO nightreel.tombstones VALUES ('x', 'x', 1)",
    ):
        with (
            pytest.raises((PermanentError, DBAPIError), match="permission denied"),
            desk.work.database.begin() as connection,
        ):
            connection.execute(text(statement))
