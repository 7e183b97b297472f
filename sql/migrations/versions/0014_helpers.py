"""Helpers: runs that work on the backlog of another run, such as a night."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("runs", sa.Column("night_id", sa.BigInteger), schema="nightreel")
    op.add_column("runs", sa.Column("listed_at", sa.DateTime(timezone=True)), schema="nightreel")
    op.add_column("runs", sa.Column("ready_by", sa.DateTime(timezone=True)), schema="nightreel")
    op.execute(
        "ALTER TABLE nightreel.runs ADD CONSTRAINT runs_night_id_fkey FOREIGN KEY (night_id) REFERENCES nightreel.runs"
    )
    op.execute("CREATE INDEX runs_night_id_idx ON nightreel.runs (night_id) WHERE night_id IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS reporting.runs CASCADE")
    op.execute("DROP INDEX nightreel.runs_night_id_idx")
    for column in ("night_id", "listed_at", "ready_by"):
        op.drop_column("runs", column, schema="nightreel")
