"""Where people open the console: views make links of it."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.Boolean, sa.CheckConstraint("id", name="site_id_check"), primary_key=True),
        sa.Column("console_url", sa.Text),
        schema="nightreel",
    )
    op.execute("INSERT INTO nightreel.site (id) VALUES (true)")


def downgrade() -> None:
    op.execute("DROP TABLE nightreel.site CASCADE")
