"""The log of views tells contact sheets that were sent from those that were on show."""

from alembic import op

revision = "0039"
down_revision = "0038"

_EARLIER = "views_seen_views_seen_{}_check_check"  # as 0031 named them
_NOW = "views_seen_{}_check"


def upgrade() -> None:
    _replace(_EARLIER, _NOW, "'case', 'contact_sheet', 'frame', 'video', 'sheet_sent'", "'case', 'sheet_sent'")


def downgrade() -> None:
    # The rows stay: they are never deleted.
    _replace(_NOW, _EARLIER, "'case', 'contact_sheet', 'frame', 'video'", "'case'", "NOT VALID")


def _replace(before: str, after: str, kinds: str, without_picture: str, validity: str = "") -> None:
    op.execute(
        f"ALTER TABLE nightreel.views_seen "
        f"DROP CONSTRAINT {before.format('what')}, DROP CONSTRAINT {before.format('blurred')}, "
        f"ADD CONSTRAINT {after.format('what')} CHECK (what IN ({kinds})) {validity}, "
        f"ADD CONSTRAINT {after.format('blurred')} "
        f"CHECK (what IN ({without_picture}) OR blurred IS NOT NULL) {validity}"
    )
