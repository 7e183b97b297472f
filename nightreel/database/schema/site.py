"""What views know of the place that they are read in, and what the last upgrade stated."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Table, Text

from nightreel.database.schema.columns import metadata

# One row. `console_url`: where people open the console, without a slash at its end. `stated`: a digest of the views of
# the last upgrade.
site = Table(
    "site",
    metadata,
    Column("id", Boolean, primary_key=True),
    Column("console_url", Text),
    Column("stated", Text),
    CheckConstraint("id", name="id"),
)
