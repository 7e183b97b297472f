"""People, to whom the tokens belong."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pseudonym", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("restricted", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("name", name="users_name_key"),
        sa.UniqueConstraint("pseudonym", name="users_pseudonym_key"),
        sa.CheckConstraint("role IN ('viewer', 'reviewer', 'lead', 'admin')", name="users_role_check"),
        sa.CheckConstraint("name <> '' AND pseudonym <> ''", name="users_name_check"),
        schema="nightreel",
    )
    # The owner of a token becomes a user.
    op.execute(
        """
        INSERT INTO nightreel.users (name, pseudonym, role, restricted)
        SELECT owner, 'reviewer-' || left(replace(gen_random_uuid()::text, '-', ''), 12), 'viewer',
               bool_or('restricted' = ANY (scopes))
        FROM nightreel.tokens GROUP BY owner
        """
    )
    op.add_column(
        "tokens", sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id")), schema="nightreel"
    )
    op.execute(
        "UPDATE nightreel.tokens SET user_id = users.id FROM nightreel.users AS users WHERE users.name = tokens.owner"
    )
    op.alter_column("tokens", "user_id", nullable=False, schema="nightreel")
    op.drop_column("tokens", "owner", schema="nightreel")


def downgrade() -> None:
    op.add_column("tokens", sa.Column("owner", sa.Text), schema="nightreel")
    op.execute(
        "UPDATE nightreel.tokens SET owner = users.name FROM nightreel.users AS users WHERE users.id = tokens.user_id"
    )
    op.alter_column("tokens", "owner", nullable=False, schema="nightreel")
    op.create_check_constraint("tokens_owner_check", "tokens", "owner <> ''", schema="nightreel")
    op.drop_column("tokens", "user_id", schema="nightreel")
    op.drop_table("users", schema="nightreel")
