"""What the tables share: their metadata, and columns that many of them have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    schema="nightreel",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

KEY = Text(collation="C")
"""Keys of objects, in the byte order in which storage lists them, independent of the database's collation."""


def id_column() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def created_column(name: str = "created_at") -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def time_column(name: str) -> Column[Any]:
    return Column(name, DateTime(timezone=True))


def json_column(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, JSONB(none_as_null=True), nullable=nullable)
