-- Backfills, their progress and their plan. Counts of shards are written when a run of them ends.
CREATE OR REPLACE VIEW reporting.backfills AS
SELECT backfill.id AS backfill_id,
       backfill.status,
       backfill.source,
       backfill.since,
       backfill.until,
       model.name AS model,
       recipe.plan AS sampling_plan,
       shard.videos,
       shard.done,
       shard.failed,
       shard.shards,
       shard.shards_done,
       shard.shards_failed,
       backfill.created_at,
       backfill.finished_at,
       backfill.plan,
       backfill.pool
FROM nightreel.backfills AS backfill
JOIN nightreel.recipes AS recipe ON recipe.id = backfill.recipe_id
JOIN nightreel.models AS model ON model.id = recipe.model_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(videos), 0) AS videos,
           coalesce(sum(done), 0) AS done,
           coalesce(sum(failed), 0) AS failed,
           count(*) AS shards,
           count(*) FILTER (WHERE shards.status = 'done') AS shards_done,
           count(*) FILTER (WHERE shards.status = 'failed') AS shards_failed
    FROM nightreel.backfill_shards AS shards
    WHERE shards.backfill_id = backfill.id
) AS shard;
