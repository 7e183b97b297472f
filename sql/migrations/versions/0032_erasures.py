"""Erasures, their tombstones, and legal holds. Decisions and events of cases change inside `nightreel.erase` alone."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0032"
down_revision = "0031"

# The trigger asks Postgres who called: the last line of the stack is the function that the client called. Names in it
# are qualified, because `nightreel.erase` sets its search_path, and quoted unless they are plain. The words around them
# depend on the language of the server.
_REFUSE = r"""
    CREATE OR REPLACE FUNCTION nightreel.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        stack text;
    BEGIN
        GET DIAGNOSTICS stack = PG_CONTEXT;
        IF TG_OP = 'UPDATE' AND stack ~ '(^|\n)[^\n"]*[^\n"a-z0-9_$.]nightreel\.erase\(jsonb\)[^\n"]*$' THEN
            RETURN NULL;
        END IF;
        RAISE insufficient_privilege USING MESSAGE = format(
            '%s of %I: its rows are never changed nor deleted', lower(TG_OP), TG_TABLE_NAME
        );
    END
    $$
"""
_REFUSE_ALL = """
    CREATE OR REPLACE FUNCTION nightreel.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE insufficient_privilege USING MESSAGE = format(
            '%s of %I: its rows are never changed nor deleted', lower(TG_OP), TG_TABLE_NAME
        );
    END
    $$
"""


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("counts", JSONB, nullable=False, server_default="{}"),
        sa.CheckConstraint("kind IN ('asked', 'retention')", name="erasures_kind_check"),
        schema="nightreel",
    )
    op.create_table(
        "tombstones",
        sa.Column("mac", sa.LargeBinary, primary_key=True),
        sa.Column("key_id", sa.LargeBinary, nullable=False),
        sa.Column("erasure_id", sa.BigInteger, sa.ForeignKey("nightreel.erasures.id"), nullable=False),
        sa.CheckConstraint("octet_length(mac) = 32", name="tombstones_mac_check"),
        sa.CheckConstraint("octet_length(key_id) = 8", name="tombstones_key_id_check"),
        schema="nightreel",
    )
    op.create_index("tombstones_key_id_idx", "tombstones", ["key_id"], schema="nightreel")
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("uri", sa.Text(collation="C")),
        sa.Column("content_sha256", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.Column("removed_by", sa.Text),
        sa.CheckConstraint("num_nonnulls(uri, content_sha256) <= 1", name="legal_holds_one_check"),
        sa.CheckConstraint(
            "removed_at IS NOT NULL OR (num_nonnulls(uri, content_sha256) = 1 AND reason IS NOT NULL)",
            name="legal_holds_active_check",
        ),
        sa.CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name="legal_holds_removed_check"),
        schema="nightreel",
    )
    op.execute(
        "CREATE UNIQUE INDEX legal_holds_active_key ON nightreel.legal_holds (coalesce(uri, content_sha256)) "
        "WHERE removed_at IS NULL"
    )
    op.execute(_REFUSE)
    op.execute(
        "CREATE TRIGGER erasures_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON nightreel.erasures "
        "FOR EACH STATEMENT EXECUTE FUNCTION nightreel.refuse_change()"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS nightreel.erase")
    for table in ("legal_holds", "tombstones", "erasures"):
        op.execute(f"DROP TABLE nightreel.{table} CASCADE")
    op.execute(_REFUSE_ALL)
