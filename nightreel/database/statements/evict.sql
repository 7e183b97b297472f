-- Evicts one batch of the cache, the least recently used features first, after a cursor. It sets the uris of features
-- that no work needs to null, until these make up the excess. Work needs a feature if
--   a pending or claimed analysis of the same bytes with the same model and plan would look it up again; or
--   a running run or a backfill has not listed the video yet: it is a current video of its source without an analysis
--   under its recipe.
-- A legal hold keeps features, too: they are what the model saw.
-- A run records the content hash before it looks up features. So a claim that is visible here covers every feature it
-- has found. A claim that is not visible yet has used the row since, which `last_used_at` shows, read again under the
-- lock. Rows that others lock are skipped: this statement never waits while it holds locks.
-- OFFSET 0 keeps the planner, which may ignore LIMIT here, from hashing all videos for a few hundred rows.
WITH at_work AS MATERIALIZED (
    SELECT run.recipe_id,
           recipe.model_id,
           recipe.plan,
           run.source || '/' AS uri_prefix,
           CAST(run.options ->> 'since' AS timestamptz) AS since,
           CAST(run.options ->> 'until' AS timestamptz) AS until
    FROM nightreel.runs AS run
    JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
    WHERE run.status = 'running' AND run.shard_id IS NULL
    UNION ALL
    SELECT backfill.recipe_id, recipe.model_id, recipe.plan, backfill.source || '/', backfill.since, backfill.until
    FROM nightreel.backfills AS backfill
    JOIN nightreel.recipes AS recipe ON recipe.id = backfill.recipe_id
    WHERE backfill.status IN ('running', 'paused')
), looked_at AS MATERIALIZED (
    SELECT feature.key,
           feature.last_used_at,
           feature.size_bytes,
           EXISTS (SELECT
                   FROM nightreel.videos AS video
                   JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id
                   JOIN nightreel.recipes AS recipe ON recipe.id = analysis.recipe_id
                   WHERE video.content_sha256 = feature.content_sha256
                     AND recipe.model_id = feature.model_id
                     AND recipe.plan = feature.plan
                     AND (analysis.status = 'claimed' OR analysis.status = 'pending' AND video.replaced_at IS NULL AND video.gone_at IS NULL)
                   OFFSET 0)
           OR EXISTS (SELECT
                      FROM at_work
                      JOIN nightreel.videos AS video ON starts_with(video.uri, at_work.uri_prefix)
                      WHERE video.content_sha256 = feature.content_sha256
                        AND at_work.model_id = feature.model_id
                        AND at_work.plan = feature.plan
                        AND video.replaced_at IS NULL
                        AND video.gone_at IS NULL
                        AND (at_work.since IS NULL OR video.modified_at >= at_work.since)
                        AND (at_work.until IS NULL OR video.modified_at < at_work.until)
                        AND NOT EXISTS (SELECT FROM nightreel.analyses AS analysis
                                        WHERE analysis.video_id = video.id
                                          AND analysis.recipe_id = at_work.recipe_id)
                      OFFSET 0)
           OR feature.content_sha256 IN (SELECT content_sha256 FROM nightreel.held_contents) AS needed
    FROM nightreel.features AS feature
    WHERE feature.uri IS NOT NULL
      AND starts_with(feature.uri, :uri_prefix)
      AND (feature.last_used_at, feature.key) > (CAST(:after_used_at AS timestamptz), :after_key)
    ORDER BY feature.last_used_at, feature.key
    LIMIT :batch
), chosen AS (
    SELECT key,
           last_used_at,
           sum(size_bytes) OVER (ORDER BY last_used_at, key) - size_bytes AS bytes_before
    FROM looked_at
    WHERE NOT needed
), locked AS MATERIALIZED (
    SELECT feature.key, feature.uri
    FROM nightreel.features AS feature
    JOIN chosen ON chosen.key = feature.key
    WHERE chosen.bytes_before < :excess_bytes
      AND feature.last_used_at = chosen.last_used_at
      AND feature.uri IS NOT NULL
    ORDER BY feature.key
    FOR UPDATE OF feature SKIP LOCKED
), evicted AS (
    UPDATE nightreel.features AS feature
    SET uri = NULL
    FROM locked
    WHERE feature.key = locked.key AND NOT :dry_run
)
SELECT looked_at.key, looked_at.last_used_at, looked_at.size_bytes, looked_at.needed, locked.uri AS evicted_uri
FROM looked_at
LEFT JOIN locked ON locked.key = looked_at.key
ORDER BY looked_at.last_used_at, looked_at.key
