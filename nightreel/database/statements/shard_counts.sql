-- The state of a shard's videos: those that ended since its backfill was accepted, and those that are left.
SELECT count(*) FILTER (WHERE analysis.status IN ('done', 'partly_done')) AS done,
       count(*) FILTER (WHERE analysis.status IN ('failed', 'quarantined')) AS failed,
       count(*) FILTER (WHERE analysis.status IN ('pending', 'claimed')) AS left
FROM nightreel.backfill_shards AS shard
JOIN nightreel.backfills AS backfill ON backfill.id = shard.backfill_id
JOIN nightreel.videos AS video
    ON video.uri > shard.after_uri
   AND video.uri <= shard.up_to_uri
   AND starts_with(video.uri, backfill.source || '/')
   AND video.replaced_at IS NULL
   AND video.gone_at IS NULL
   AND (backfill.since IS NULL OR video.modified_at >= backfill.since)
   AND (backfill.until IS NULL OR video.modified_at < backfill.until)
JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id AND analysis.recipe_id = backfill.recipe_id
WHERE shard.id = :shard_id
  AND (analysis.status IN ('pending', 'claimed') OR analysis.updated_at >= backfill.created_at)
