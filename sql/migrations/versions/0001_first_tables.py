"""The first tables: videos, recipes, analyses, segments, features, answers, runs."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
    CREATE TABLE nightreel.features (
        key TEXT NOT NULL,
        uri TEXT,
        size_bytes BIGINT NOT NULL,
        sha256 TEXT NOT NULL,
        pts_s DOUBLE PRECISION[] NOT NULL,
        damaged_frames INTEGER NOT NULL,
        decoder TEXT NOT NULL,
        decoder_version TEXT NOT NULL,
        thumbnail_uri TEXT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        last_used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT features_pkey PRIMARY KEY (key)
    );

    CREATE TABLE nightreel.models (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        hash TEXT NOT NULL,
        name TEXT NOT NULL,
        revision TEXT NOT NULL,
        spec JSONB NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT models_pkey PRIMARY KEY (id),
        CONSTRAINT models_hash_key UNIQUE (hash)
    );

    CREATE TABLE nightreel.prompts (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        hash TEXT NOT NULL,
        name TEXT NOT NULL,
        set_name TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        choices TEXT[] NOT NULL,
        flag TEXT,
        definition JSONB NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT prompts_pkey PRIMARY KEY (id),
        CONSTRAINT prompts_hash_key UNIQUE (hash)
    );

    CREATE TABLE nightreel.recipes (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        hash TEXT NOT NULL,
        model_id BIGINT NOT NULL,
        plan_hash TEXT NOT NULL,
        plan TEXT NOT NULL,
        window_s DOUBLE PRECISION NOT NULL,
        prompts JSONB NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT recipes_pkey PRIMARY KEY (id),
        CONSTRAINT recipes_hash_key UNIQUE (hash),
        CONSTRAINT recipes_model_id_fkey FOREIGN KEY(model_id) REFERENCES nightreel.models (id)
    );

    CREATE TABLE nightreel.runs (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        flow_run_id TEXT,
        source TEXT NOT NULL,
        recipe_id BIGINT NOT NULL,
        status TEXT DEFAULT 'running' NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        options JSONB NOT NULL,
        settings JSONB NOT NULL,
        environment JSONB NOT NULL,
        counts JSONB,
        timings JSONB,
        error TEXT,
        CONSTRAINT runs_pkey PRIMARY KEY (id),
        CONSTRAINT runs_status_check CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'crashed')),
        CONSTRAINT runs_recipe_id_fkey FOREIGN KEY(recipe_id) REFERENCES nightreel.recipes (id)
    );

    CREATE TABLE nightreel.videos (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        uri TEXT NOT NULL,
        etag TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        modified_at TIMESTAMP WITH TIME ZONE NOT NULL,
        content_sha256 TEXT,
        duration_s DOUBLE PRECISION,
        probe JSONB,
        discovered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        run_id BIGINT NOT NULL,
        replaced_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT videos_pkey PRIMARY KEY (id),
        CONSTRAINT videos_uri_etag_key UNIQUE (uri, etag),
        CONSTRAINT videos_run_id_fkey FOREIGN KEY(run_id) REFERENCES nightreel.runs (id)
    );

    CREATE INDEX videos_content_sha256_idx ON nightreel.videos (content_sha256) WHERE content_sha256 IS NOT NULL;

    CREATE UNIQUE INDEX videos_current_uri_key ON nightreel.videos (uri) WHERE replaced_at IS NULL;

    CREATE TABLE nightreel.analyses (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        video_id BIGINT NOT NULL,
        recipe_id BIGINT NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        run_id BIGINT,
        lease_expires_at TIMESTAMP WITH TIME ZONE,
        not_before TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        content_sha256 TEXT,
        segments INTEGER,
        reused BOOLEAN DEFAULT 'false' NOT NULL,
        reason TEXT,
        detail TEXT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT analyses_pkey PRIMARY KEY (id),
        CONSTRAINT analyses_video_id_recipe_id_key UNIQUE (video_id, recipe_id),
        CONSTRAINT analyses_status_check CHECK (status IN ('pending', 'claimed', 'done', 'failed', 'quarantined')),
        CONSTRAINT analyses_video_id_fkey FOREIGN KEY(video_id) REFERENCES nightreel.videos (id),
        CONSTRAINT analyses_recipe_id_fkey FOREIGN KEY(recipe_id) REFERENCES nightreel.recipes (id),
        CONSTRAINT analyses_run_id_fkey FOREIGN KEY(run_id) REFERENCES nightreel.runs (id)
    );

    CREATE INDEX analyses_claimed_idx ON nightreel.analyses (run_id, id) WHERE status = 'claimed';

    CREATE UNIQUE INDEX analyses_content_in_work_key ON nightreel.analyses (recipe_id, content_sha256)
        WHERE status = 'claimed' AND content_sha256 IS NOT NULL;

    CREATE INDEX analyses_pending_idx ON nightreel.analyses (recipe_id, id) WHERE status = 'pending';

    CREATE TABLE nightreel.segments (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        video_id BIGINT NOT NULL,
        plan_hash TEXT NOT NULL,
        index INTEGER NOT NULL,
        start_s DOUBLE PRECISION NOT NULL,
        end_s DOUBLE PRECISION NOT NULL,
        CONSTRAINT segments_pkey PRIMARY KEY (id),
        CONSTRAINT segments_video_id_plan_hash_index_key UNIQUE (video_id, plan_hash, index),
        CONSTRAINT segments_video_id_fkey FOREIGN KEY(video_id) REFERENCES nightreel.videos (id)
    );

    CREATE TABLE nightreel.answers (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        segment_id BIGINT NOT NULL,
        prompt_id BIGINT NOT NULL,
        model_id BIGINT NOT NULL,
        state TEXT NOT NULL,
        text TEXT,
        value JSONB,
        p DOUBLE PRECISION,
        scores JSONB,
        reason TEXT,
        prompt_tokens INTEGER NOT NULL,
        generated_tokens INTEGER NOT NULL,
        feature_key TEXT NOT NULL,
        reused_from BIGINT,
        run_id BIGINT NOT NULL,
        answered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT answers_pkey PRIMARY KEY (id),
        CONSTRAINT answers_segment_id_prompt_id_model_id_key UNIQUE (segment_id, prompt_id, model_id),
        CONSTRAINT answers_state_check CHECK (state IN ('answered', 'unknown', 'error')),
        CONSTRAINT answers_value_check CHECK ((state = 'answered') = (value IS NOT NULL)),
        CONSTRAINT answers_p_check CHECK (p >= 0 AND p <= 1),
        CONSTRAINT answers_segment_id_fkey FOREIGN KEY(segment_id) REFERENCES nightreel.segments (id),
        CONSTRAINT answers_prompt_id_fkey FOREIGN KEY(prompt_id) REFERENCES nightreel.prompts (id),
        CONSTRAINT answers_model_id_fkey FOREIGN KEY(model_id) REFERENCES nightreel.models (id),
        CONSTRAINT answers_feature_key_fkey FOREIGN KEY(feature_key) REFERENCES nightreel.features (key),
        CONSTRAINT answers_reused_from_fkey FOREIGN KEY(reused_from) REFERENCES nightreel.answers (id),
        CONSTRAINT answers_run_id_fkey FOREIGN KEY(run_id) REFERENCES nightreel.runs (id)
    );
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    for table in (
        "answers", "segments", "features", "analyses", "videos", "runs", "recipes", "prompts", "models",
    ):  # fmt: skip
        op.execute(f"DROP TABLE nightreel.{table}")
