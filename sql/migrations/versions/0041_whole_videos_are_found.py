"""Videos with answers about the whole are indexed again: search finds the words of these answers, too."""

from alembic import op

revision = "0041"
down_revision = "0040"

_AGAIN = """
UPDATE nightreel.search_index SET indexed_up_to = 0 WHERE EXISTS (SELECT FROM nightreel.whole_answers)
"""


def upgrade() -> None:
    op.execute(_AGAIN)


def downgrade() -> None:
    op.execute(_AGAIN)
