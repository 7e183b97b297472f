"""What people keep in the console."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Table, Text, UniqueConstraint

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata

# What a person prefers (domain.Preferences): only what was chosen.
preferences = Table(
    "preferences",
    metadata,
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id", ondelete="CASCADE"), primary_key=True),
    json_column("chosen", nullable=False),
)

# A search under a name. `query`: of its address, such as "q=van&flagged=true". `shared`: all see it.
saved_searches = Table(
    "saved_searches",
    metadata,
    id_column(),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("shared", Boolean, nullable=False, server_default="false"),
    created_column(),
    UniqueConstraint("user_id", "name"),
    CheckConstraint("name <> ''", name="name"),
)
