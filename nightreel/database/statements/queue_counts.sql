-- The cases of each queue that wait, by what they wait for. One of a golden item counts only while its person has it.
-- The many are counted in an index alone; those that somebody has or had, or that are on hold, are few.
WITH counted AS (
    SELECT one.queue_id, one.state, count(*) AS cases
    FROM nightreel.cases AS one
    WHERE one.state IN ('open', 'second', 'escalated', 'appealed') AND one.golden_id IS NULL
    GROUP BY one.queue_id, one.state
), touched AS (
    SELECT one.queue_id,
           one.state,
           one.golden_id,
           coalesce(one.taken_until > clock_timestamp(), false) AS taken,
           coalesce(one.hold_until > clock_timestamp(), false) AS held,
           one.taken_by
    FROM nightreel.cases AS one
    WHERE one.state IN ('open', 'second', 'escalated', 'appealed')
      AND (one.taken_by IS NOT NULL OR one.hold_until IS NOT NULL)
), summed AS (
    SELECT queue_id, state, cases, 0 AS taken, 0 AS held, 0 AS mine FROM counted
    UNION ALL
    SELECT queue_id,
           state,
           count(*) FILTER (WHERE golden_id IS NOT NULL AND taken),
           count(*) FILTER (WHERE taken),
           count(*) FILTER (WHERE held AND (golden_id IS NULL OR taken)),
           count(*) FILTER (WHERE taken AND taken_by = :user_id)
    FROM touched
    GROUP BY queue_id, state
)
SELECT queue_id,
       CAST(coalesce(sum(cases) FILTER (WHERE state = 'open'), 0) AS bigint) AS open,
       CAST(coalesce(sum(cases) FILTER (WHERE state = 'second'), 0) AS bigint) AS second,
       CAST(coalesce(sum(cases) FILTER (WHERE state = 'escalated'), 0) AS bigint) AS escalated,
       CAST(coalesce(sum(cases) FILTER (WHERE state = 'appealed'), 0) AS bigint) AS appealed,
       CAST(sum(taken) AS bigint) AS taken,
       CAST(sum(held) AS bigint) AS held,
       CAST(sum(mine) AS bigint) AS mine,
       (
           SELECT min(oldest.opened_at)
           FROM counted
           CROSS JOIN LATERAL (
               SELECT one.opened_at
               FROM nightreel.cases AS one
               WHERE one.queue_id = counted.queue_id
                 AND one.state = counted.state
                 AND one.state IN ('open', 'second', 'escalated', 'appealed')
                 AND one.golden_id IS NULL
                 AND (one.taken_until IS NULL OR one.taken_until <= clock_timestamp())
               ORDER BY one.opened_at
               LIMIT 1
           ) AS oldest
           WHERE counted.queue_id = summed.queue_id
       ) AS oldest_at
FROM summed
GROUP BY queue_id
