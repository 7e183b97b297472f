-- The number of runs by status and kind, and when the last one ended. A run that a person starts counts as a night: both
-- look for new videos.
SELECT status, kind, count(*) AS found, max(finished_at) AS finished_at
FROM (
    SELECT status,
           finished_at,
           CASE
               WHEN shard_id IS NOT NULL THEN 'shard'
               WHEN split_part(name, ' ', 1) IN ('retry', 'sweep') THEN split_part(name, ' ', 1)
               ELSE 'night'
           END AS kind
    FROM nightreel.runs
) AS run
GROUP BY status, kind;
