"""Backfills and their shards; gone objects; keys of videos and analyses in the order in which storage lists them.

The views that show keys are dropped, because a column under a view cannot change its type. The upgrade creates them
again. Grants on them must be given again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"

_VIEWS = "reporting.videos, reporting.answers, reporting.video_answers, reporting.failures"
_TIME = sa.DateTime(timezone=True)
_KEY = sa.Text(collation="C")
_VACUUM = ("autovacuum_vacuum_scale_factor", "autovacuum_analyze_scale_factor")


def upgrade() -> None:
    op.execute(f"DROP VIEW IF EXISTS {_VIEWS}")
    op.execute('ALTER TABLE nightreel.videos ALTER COLUMN uri TYPE text COLLATE "C"')
    op.add_column("videos", sa.Column("gone_at", _TIME), schema="nightreel")
    _index_current(postgresql_include=["id", "etag", "gone_at", "discovered_at"])
    op.add_column("analyses", sa.Column("reopened", sa.Integer, nullable=False, server_default="0"), schema="nightreel")
    op.create_index(
        "analyses_reopened_idx",
        "analyses",
        ["recipe_id"],
        schema="nightreel",
        postgresql_where=sa.text("status = 'pending' AND reopened > 0"),
    )
    op.add_column("analyses", sa.Column("uri", _KEY), schema="nightreel")
    op.execute("UPDATE nightreel.analyses SET uri = videos.uri FROM nightreel.videos WHERE videos.id = video_id")
    op.alter_column("analyses", "uri", nullable=False, schema="nightreel")
    _index_pending("recipe_id", "uri")
    for table in ("videos", "analyses"):
        op.execute(f"ALTER TABLE nightreel.{table} SET ({', '.join(f'{name} = 0.02' for name in _VACUUM)})")
    op.create_table(
        "backfills",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("since", _TIME),
        sa.Column("until", _TIME),
        sa.Column(
            "recipe_id",
            sa.BigInteger,
            sa.ForeignKey("nightreel.recipes.id", name="backfills_recipe_id_fkey"),
            nullable=False,
        ),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="running"),
        sa.Column("plan", JSONB, nullable=False),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("finished_at", _TIME),
        sa.CheckConstraint(
            "status IN ('running', 'paused', 'cancelled', 'done', 'failed')", name="backfills_status_check"
        ),
        schema="nightreel",
    )
    op.create_table(
        "backfill_shards",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "backfill_id",
            sa.BigInteger,
            sa.ForeignKey("nightreel.backfills.id", name="backfill_shards_backfill_id_fkey"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("after_uri", _KEY, nullable=False),
        sa.Column("up_to_uri", _KEY, nullable=False),
        sa.Column("videos", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("submissions", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("flow_run_id", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("done", sa.Integer),
        sa.Column("failed", sa.Integer),
        sa.Column("finished_at", _TIME),
        sa.UniqueConstraint("backfill_id", "number", name="backfill_shards_backfill_id_number_key"),
        sa.CheckConstraint("status IN ('waiting', 'submitted', 'done', 'failed')", name="backfill_shards_status_check"),
        schema="nightreel",
    )
    op.add_column(
        "runs",
        sa.Column(
            "shard_id",
            sa.BigInteger,
            sa.ForeignKey("nightreel.backfill_shards.id", name="runs_shard_id_fkey"),
        ),
        schema="nightreel",
    )


def downgrade() -> None:
    op.execute(f"DROP VIEW IF EXISTS {_VIEWS}, reporting.backfills")
    op.drop_column("runs", "shard_id", schema="nightreel")
    op.drop_table("backfill_shards", schema="nightreel")
    op.drop_table("backfills", schema="nightreel")
    for table in ("videos", "analyses"):
        op.execute(f"ALTER TABLE nightreel.{table} RESET ({', '.join(_VACUUM)})")
    _index_pending("recipe_id", "id")
    op.drop_column("analyses", "uri", schema="nightreel")
    op.drop_column("analyses", "reopened", schema="nightreel")
    _index_current()
    op.drop_column("videos", "gone_at", schema="nightreel")
    op.execute('ALTER TABLE nightreel.videos ALTER COLUMN uri TYPE text COLLATE "default"')


def _index_current(**options: object) -> None:
    name, where = "videos_current_uri_key", sa.text("replaced_at IS NULL")
    op.drop_index(name, "videos", schema="nightreel")
    op.create_index(name, "videos", ["uri"], schema="nightreel", unique=True, postgresql_where=where, **options)


def _index_pending(*columns: str) -> None:
    name = "analyses_pending_idx"
    op.drop_index(name, "analyses", schema="nightreel")
    op.create_index(name, "analyses", columns, schema="nightreel", postgresql_where=sa.text("status = 'pending'"))
