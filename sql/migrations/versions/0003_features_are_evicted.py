"""Origin and use of cached features: eviction keeps those that work needs, and takes the others by last use."""

from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = """
    ALTER TABLE nightreel.features
        ADD COLUMN content_sha256 TEXT,
        ADD COLUMN plan TEXT,
        ADD COLUMN model_id BIGINT,
        ADD COLUMN evictions INTEGER DEFAULT '0' NOT NULL,
        ADD CONSTRAINT features_model_id_fkey FOREIGN KEY(model_id) REFERENCES nightreel.models (id);

    CREATE INDEX features_least_recently_used_idx ON nightreel.features (last_used_at, key) WHERE uri IS NOT NULL;
"""

# An answer shows the origin of its features. The origin of features without an answer is unknown: they may be evicted.
KNOWN_BY_THEIR_ANSWERS = """
    UPDATE nightreel.features AS feature
    SET content_sha256 = made.content_sha256, plan = made.plan, model_id = made.model_id
    FROM (
        SELECT DISTINCT ON (answer.feature_key)
               answer.feature_key, video.content_sha256, recipe.plan, answer.model_id
        FROM nightreel.answers AS answer
        JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
        JOIN nightreel.videos AS video ON video.id = segment.video_id
        JOIN nightreel.runs AS run ON run.id = answer.run_id
        JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
        ORDER BY answer.feature_key, answer.id
    ) AS made
    WHERE made.feature_key = feature.key
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(KNOWN_BY_THEIR_ANSWERS)


def downgrade() -> None:
    op.execute("DROP INDEX nightreel.features_least_recently_used_idx")
    op.execute(
        "ALTER TABLE nightreel.features DROP COLUMN content_sha256, DROP COLUMN plan, DROP COLUMN model_id, "
        "DROP COLUMN evictions"
    )
