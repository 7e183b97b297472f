-- The wanted videos, cut into ranges of keys of `:shard_videos` videos each. The last range takes the rest.
WITH numbered AS (
    SELECT uri, row_number() OVER (ORDER BY uri) - 1 AS position, count(*) OVER () AS videos
    FROM plan_wanted
    WHERE status IN ('none', 'pending', 'claimed')
), sharded AS (
    SELECT uri,
           least(position / CAST(:shard_videos AS bigint), greatest(1, videos / CAST(:shard_videos AS bigint)) - 1)
               AS shard
    FROM numbered
), cut AS (
    SELECT shard, max(uri) AS up_to_uri, count(*) AS videos FROM sharded GROUP BY shard
)
SELECT coalesce(lag(up_to_uri) OVER (ORDER BY shard), '') AS after_uri, up_to_uri, videos FROM cut ORDER BY shard
