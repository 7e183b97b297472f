"""Passwords, sessions, and failed attempts to sign in."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "passwords",
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("hash LIKE '$argon2id$%%'", name="passwords_hash_check"),
        schema="nightreel",
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.UniqueConstraint("sha256", name="sessions_sha256_key"),
        sa.CheckConstraint("octet_length(sha256) = 32", name="sessions_sha256_check"),
        schema="nightreel",
    )
    op.create_index("sessions_user_id_idx", "sessions", ["user_id"], schema="nightreel")
    op.create_table(
        "sign_in_failures",
        sa.Column("subject", sa.LargeBinary, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("failures > 0", name="sign_in_failures_failures_check"),
        sa.CheckConstraint("octet_length(subject) = 32", name="sign_in_failures_subject_check"),
        schema="nightreel",
    )


def downgrade() -> None:
    op.drop_table("sign_in_failures", schema="nightreel")
    op.drop_table("sessions", schema="nightreel")
    op.drop_table("passwords", schema="nightreel")
