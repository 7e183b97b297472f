"""People, how they show who they are (passwords, sessions, tokens of the REST service), and what they keep."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata, time_column

# A person or a program. `pseudonym`: the name that others see. `restricted`: may see restricted videos. A user who has
# decided something is disabled, not deleted.
users = Table(
    "users",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("pseudonym", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("restricted", Boolean, nullable=False, server_default="false"),
    created_column(),
    time_column("disabled_at"),
    UniqueConstraint("name"),
    UniqueConstraint("pseudonym"),
    CheckConstraint("role IN ('viewer', 'reviewer', 'lead', 'admin')", name="role"),
    CheckConstraint("name <> '' AND pseudonym <> ''", name="name"),
)

# A token is stored as its SHA-256 and cannot be read back. `shown`: its first characters, by which its user recognises
# it.
tokens = Table(
    "tokens",
    metadata,
    id_column(),
    Column("sha256", LargeBinary, nullable=False),
    Column("shown", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    created_column(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    time_column("revoked_at"),
    time_column("last_used_at"),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id"), nullable=False),
    UniqueConstraint("sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
)

# The argon2id hash of a password. `expires_at`: of one that another person made and that must be changed; else null.
passwords = Table(
    "passwords",
    metadata,
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, nullable=False),
    created_column("changed_at"),
    time_column("expires_at"),
    CheckConstraint("hash LIKE '$argon2id$%'", name="hash"),
)

# A browser that is signed in, as the SHA-256 of its cookie. `address`, `agent`: from where, as its user knows it.
sessions = Table(
    "sessions",
    metadata,
    id_column(),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id", ondelete="CASCADE"), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    created_column(),
    created_column("last_used_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    time_column("revoked_at"),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    UniqueConstraint("sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    Index("sessions_user_id_idx", "user_id"),
)

# A link that signs a person in once, as the SHA-256 of its secret.
sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
)

# Failed attempts to sign in, in a row. `subject`: the SHA-256 of a name that was given, or of an address.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("failures > 0", name="failures"),
    CheckConstraint("octet_length(subject) = 32", name="subject"),
)

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
