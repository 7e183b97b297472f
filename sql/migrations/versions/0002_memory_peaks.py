"""Peaks of device memory that batches of a model took."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = """
    CREATE TABLE nightreel.memory_peaks (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        model_id BIGINT NOT NULL,
        device TEXT NOT NULL,
        stage TEXT NOT NULL,
        shape TEXT NOT NULL,
        out_of_memory BOOLEAN NOT NULL,
        segments INTEGER NOT NULL,
        estimated_bytes BIGINT NOT NULL,
        measured_bytes BIGINT NOT NULL,
        run_id BIGINT NOT NULL,
        measured_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT memory_peaks_pkey PRIMARY KEY (id),
        CONSTRAINT memory_peaks_model_id_device_stage_shape_out_of_memory_key
            UNIQUE (model_id, device, stage, shape, out_of_memory),
        CONSTRAINT memory_peaks_stage_check CHECK (stage IN ('vision', 'language')),
        CONSTRAINT memory_peaks_counts_check CHECK (segments > 0 AND estimated_bytes > 0 AND measured_bytes >= 0),
        CONSTRAINT memory_peaks_model_id_fkey FOREIGN KEY(model_id) REFERENCES nightreel.models (id),
        CONSTRAINT memory_peaks_run_id_fkey FOREIGN KEY(run_id) REFERENCES nightreel.runs (id)
    );
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS reporting.memory")
    op.execute("DROP TABLE nightreel.memory_peaks")
