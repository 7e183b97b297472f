"""Requests for a device's memory, waiting or granted."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLE = """
    CREATE TABLE nightreel.memory_leases (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        host TEXT NOT NULL,
        limits TEXT[] NOT NULL,
        spread BOOLEAN NOT NULL,
        mib BIGINT NOT NULL,
        granted TEXT[] DEFAULT '{}' NOT NULL,
        run_id BIGINT,
        pid INTEGER NOT NULL,
        requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        granted_at TIMESTAMP WITH TIME ZONE,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT memory_leases_pkey PRIMARY KEY (id),
        CONSTRAINT memory_leases_run_id_fkey FOREIGN KEY(run_id) REFERENCES nightreel.runs (id),
        CONSTRAINT memory_leases_mib_check CHECK (mib > 0)
    );
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP TABLE nightreel.memory_leases")
