-- Progress of backfills. The counts of a done shard were stored at its end; the other shards are counted now.
-- `worked_s` is the time during which at least one run of a shard was running.
SELECT backfill.id,
       backfill.status,
       backfill.source,
       backfill.since,
       backfill.until,
       backfill.pool,
       backfill.created_at,
       backfill.finished_at,
       backfill.plan,
       counts.videos,
       counts.shards,
       counts.shards_done,
       counts.shards_failed,
       counts.done + coalesce(now_open.done, 0) AS done,
       counts.failed + coalesce(now_open.failed, 0) AS failed,
       work.at_work,
       coalesce(work.worked_s, 0) AS worked_s
FROM nightreel.backfills AS backfill
CROSS JOIN LATERAL (
    SELECT sum(shard.videos) AS videos,
           count(*) AS shards,
           count(*) FILTER (WHERE shard.status = 'done') AS shards_done,
           count(*) FILTER (WHERE shard.status = 'failed') AS shards_failed,
           coalesce(sum(shard.done) FILTER (WHERE shard.status = 'done'), 0) AS done,
           coalesce(sum(shard.failed) FILTER (WHERE shard.status = 'done'), 0) AS failed
    FROM nightreel.backfill_shards AS shard
    WHERE shard.backfill_id = backfill.id
) AS counts
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE analysis.status IN ('done', 'partly_done')) AS done,
           count(*) FILTER (WHERE analysis.status IN ('failed', 'quarantined')) AS failed
    FROM nightreel.backfill_shards AS shard
    JOIN nightreel.videos AS video
        ON video.uri > shard.after_uri
       AND video.uri <= shard.up_to_uri
       AND starts_with(video.uri, backfill.source || '/')
       AND video.replaced_at IS NULL
       AND video.gone_at IS NULL
       AND (backfill.since IS NULL OR video.modified_at >= backfill.since)
       AND (backfill.until IS NULL OR video.modified_at < backfill.until)
    JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id AND analysis.recipe_id = backfill.recipe_id
    WHERE shard.backfill_id = backfill.id
      AND shard.status <> 'done'
      AND shard.submissions > 0
      AND analysis.updated_at >= backfill.created_at
) AS now_open
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE run.status = 'running') AS at_work,
           (SELECT extract(epoch FROM sum(upper(span) - lower(span)))::float8
            FROM unnest(range_agg(tstzrange(run.started_at, coalesce(run.finished_at, now())))) AS span) AS worked_s
    FROM nightreel.runs AS run
    JOIN nightreel.backfill_shards AS shard ON shard.id = run.shard_id
    WHERE shard.backfill_id = backfill.id
) AS work
WHERE CAST(:backfill_id AS bigint) IS NULL OR backfill.id = :backfill_id
ORDER BY backfill.id DESC
LIMIT 20
