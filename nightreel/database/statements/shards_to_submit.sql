-- The first waiting shards of each running backfill, up to the number that it may have submitted at the same time.
SELECT waiting.id
FROM nightreel.backfills AS backfill
CROSS JOIN LATERAL (
    SELECT shard.id
    FROM nightreel.backfill_shards AS shard
    WHERE shard.backfill_id = backfill.id AND shard.status = 'waiting' AND shard.not_before <= now()
    ORDER BY shard.number
    LIMIT greatest(0, :at_once - (SELECT count(*)
                                  FROM nightreel.backfill_shards AS submitted
                                  WHERE submitted.backfill_id = backfill.id AND submitted.status = 'submitted'))
) AS waiting
WHERE backfill.status = 'running'
