"""The migrations and the schema in code describe the same tables: these tests compare them."""

import json
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fixtures.earlier_versions import downgrade_to
from fixtures.work import stored
from sqlalchemy import create_engine, inspect, text

from nightreel.database import schema
from nightreel.database.connection import Database
from nightreel.database.migrations import require_current, upgrade
from nightreel.errors import PermanentError

MIGRATIONS = Path(__file__).parents[3] / "sql" / "migrations"


@pytest.fixture
def database_url(owner_url):
    """Migrations are the owner's work."""
    return owner_url


def test_migrations_make_exactly_the_tables_of_the_schema(database_url):
    # If a schema is named like the user, it is the default schema and reflection omits its name.
    engine = create_engine(database_url, connect_args={"options": "-c search_path=public"})
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: name == "nightreel" if kind == "schema" else True,
                "version_table": "schema_version",
                "version_table_schema": "nightreel",
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_busy_tables_are_vacuumed_early_and_an_index_covers_listing_pages(database):
    """Settings that a comparison of columns does not cover."""
    with database.begin() as connection:
        tables = dict(
            connection.execute(
                text("SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions <> '{}'")
            )
            .tuples()
            .all()
        )
        index = connection.execute(
            text("SELECT pg_get_indexdef('nightreel.videos_current_uri_key'::regclass)")
        ).scalar_one()
    early = ["autovacuum_vacuum_scale_factor=0.02", "autovacuum_analyze_scale_factor=0.02"]
    assert tables == {"videos": early, "analyses": early}
    assert "INCLUDE (id, etag, gone_at, discovered_at)" in index


def test_upgrading_twice_changes_nothing(database):
    before, after = upgrade(database.engine)
    assert before == after


def test_a_command_states_views_only_if_they_differ_from_those_of_the_last_upgrade(database):
    def exists() -> bool:
        with database.begin() as connection:
            return connection.execute(text("SELECT to_regclass('reporting.not_asked')")).scalar() is not None

    with database.begin() as connection:
        connection.execute(text("DROP VIEW reporting.not_asked CASCADE"))
    upgrade(database.engine, only_changed=True)
    assert not exists(), "nothing changed since the last upgrade"
    with database.begin() as connection:
        connection.execute(text("UPDATE nightreel.site SET stated = 'those of another version'"))
    upgrade(database.engine, only_changed=True)
    assert exists()
    with database.begin() as connection:
        connection.execute(text("DROP VIEW reporting.not_asked CASCADE"))
    upgrade(database.engine)
    assert exists(), "`nightreel db upgrade` repairs"


def test_a_command_follows_another_address_of_the_console(database):
    def address() -> str | None:
        with database.begin() as connection:
            return connection.execute(text("SELECT console_url FROM nightreel.site")).scalar()

    upgrade(database.engine, console_url="https://a.example", only_changed=True)
    assert address() == "https://a.example"
    upgrade(database.engine, only_changed=True)
    assert address() is None


def test_the_names_of_migrations_start_with_their_revisions(database):
    scripts = ScriptDirectory(MIGRATIONS)
    names = {script.revision: Path(script.path).name for script in scripts.walk_revisions()}
    assert all(name.startswith(f"{revision}_") for revision, name in names.items())
    assert upgrade(database.engine)[1] == scripts.get_current_head()


def test_the_newest_migration_can_be_reverted_and_applied_again(database):
    def tables():
        return set(inspect(database.engine).get_table_names(schema="nightreel")) - {"schema_version"}

    everything = tables()
    assert "memory_peaks" in everything
    with database.begin() as connection:
        downgrade_to(connection, "0001")
    assert everything - tables() == {
        "memory_peaks",
        "memory_leases",
        "backfills",
        "backfill_shards",
        "failed_segments",
        "questions",
        "policies",
        "verdicts",
        "video_verdicts",
        "recipe_prompts",
        "current_recipes",
        "kept_prompt_sets",
        "cache_keys",
        "site",
        "tokens",
        "documents",
        "search_index",
        "notes",
        "whole_answers",
        "webhooks",
        "webhook_deliveries",
        "users",
        "queues",
        "queue_policies",
        "cases",
        "findings",
        "case_events",
        "decisions",
        "audits",
        "audit_strata",
        "audit_items",
        "golden_items",
        "golden_labels",
        "passwords",
        "sessions",
        "sign_in_failures",
        "preferences",
        "saved_searches",
        "sign_in_links",
        "views_seen",
        "erasures",
        "tombstones",
        "legal_holds",
        "embedding_models",
        "vectors",
        "requests",
    }
    with pytest.raises(PermanentError, match="is at revision 0001"):
        require_current(database.engine)
    assert upgrade(database.engine)[0] == "0001"
    assert tables() == everything
    require_current(database.engine)


def test_work_from_before_the_migration_is_claimed_by_its_key(work):
    work.discover(stored("a.mp4"), stored("b.mp4"))
    with work.database.begin() as connection:
        downgrade_to(connection, "0005")
    upgrade(work.database.engine)
    assert [claim.video.uri for claim in work.claim()] == ["s3://bucket/a.mp4", "s3://bucket/b.mp4"]


@pytest.mark.parametrize(
    ("probe", "expected_s"),
    [
        pytest.param({"truncated": False, "expected_frames": 60, "frame_count": 60}, 6.0, id="whole"),
        pytest.param({"truncated": True, "expected_frames": 60, "frame_count": 12}, 30.0, id="cut off, with a promise"),
        pytest.param({"truncated": False, "expected_frames": 60, "frame_count": 12}, 30.0, id="cut off without a mark"),
        pytest.param(
            {"truncated": False, "expected_frames": 60, "frame_count": 50, "discarded_frames": 10}, 6.0, id="edited"
        ),
        pytest.param(
            {"truncated": True, "expected_frames": None, "frame_count": 12}, None, id="cut off, without a promise"
        ),
        pytest.param({"truncated": False, "expected_frames": None, "frame_count": 12}, 6.0, id="without a promise"),
    ],
)
def test_the_expected_length_of_videos_from_before_coverage_comes_from_their_probe(work, probe, expected_s):
    work.discover(stored("a.mp4"))
    with work.database.begin() as connection:
        downgrade_to(connection, "0006")
        change = text("UPDATE nightreel.videos SET duration_s = 6, probe = CAST(:probe AS jsonb)")
        connection.execute(change, {"probe": json.dumps(probe)})
    upgrade(work.database.engine)
    with work.database.begin() as connection:
        row = connection.execute(text("SELECT expected_s, probe FROM nightreel.videos")).one()
    assert (row.expected_s, row.probe["expected_s"]) == (expected_s, expected_s)


def test_a_database_that_was_never_upgraded_is_refused_with_the_way_out(empty_database_url):
    database = Database(empty_database_url)
    with pytest.raises(PermanentError, match="nightreel db upgrade"):
        require_current(database.engine)
    database.close()


def test_every_view_can_be_read(database):
    with database.engine.connect() as connection:
        views = connection.execute(
            text("SELECT table_name FROM information_schema.views WHERE table_schema = 'reporting'")
        ).scalars()
        names = set(views)
        assert names == {
            "videos",
            "answers",
            "answers_all",
            "coverage",
            "flags",
            "not_asked",
            "segments",
            "tags",
            "timeline",
            "policies",
            "recipes",
            "video_answers",
            "failures",
            "failed_segments",
            "runs",
            "memory",
            "backfills",
            "webhook_deliveries",
            "cases",
            "decisions",
            "audits",
            "audit_decisions",
            "agreement",
            "reviewer_accuracy",
            "dsa",
            "views_seen",
            "legal_holds",
            "erasures",
        }
        for name in names:
            assert connection.execute(text(f"SELECT * FROM reporting.{name}")).all() == []
