"""Webhooks: who is told about flags, and the outbox of what is to be told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("set_name", sa.Text),
        sa.Column("prompt", sa.Text),
        sa.Column("least_severity", sa.Integer),
        sa.Column("restricted", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("disabled_reason", sa.Text),
        sa.CheckConstraint("least_severity BETWEEN 1 AND 4", name="webhooks_least_severity_check"),
        sa.CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="webhooks_disabled_check"),
        schema="nightreel",
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column(
            "webhook_id", sa.BigInteger, sa.ForeignKey("nightreel.webhooks.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("video_id", sa.BigInteger, sa.ForeignKey("nightreel.videos.id", ondelete="CASCADE"), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("payload", JSONB),
        sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.UniqueConstraint("event_id", "webhook_id", name="webhook_deliveries_event_id_webhook_id_key"),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'dead', 'dropped')", name="webhook_deliveries_state_check"
        ),
        sa.CheckConstraint("(state = 'waiting') = (ended_at IS NULL)", name="webhook_deliveries_ended_at_check"),
        sa.CheckConstraint("(state = 'dropped') = (payload IS NULL)", name="webhook_deliveries_payload_check"),
        schema="nightreel",
    )
    for name, columns, where in (
        ("waiting", "webhook_id, next_at, id", "WHERE state = 'waiting'"),
        ("dead", "webhook_id, id", "WHERE state = 'dead'"),
        ("ended", "ended_at", "WHERE state IN ('delivered', 'dropped')"),
        ("video_id", "video_id", ""),
    ):
        op.execute(f"CREATE INDEX webhook_deliveries_{name}_idx ON nightreel.webhook_deliveries ({columns}) {where}")


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS reporting.webhook_deliveries")
    op.drop_table("webhook_deliveries", schema="nightreel")
    op.drop_table("webhooks", schema="nightreel")
