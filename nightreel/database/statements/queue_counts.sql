-- The cases of each queue that wait, by what they wait for.
SELECT queue_id,
       count(*) FILTER (WHERE state = 'open') AS open,
       count(*) FILTER (WHERE state = 'second') AS second,
       count(*) FILTER (WHERE state = 'escalated') AS escalated,
       count(*) FILTER (WHERE state = 'appealed') AS appealed,
       count(*) FILTER (WHERE taken_until > clock_timestamp()) AS taken,
       count(*) FILTER (WHERE hold_until > clock_timestamp()) AS held,
       count(*) FILTER (WHERE taken_by = :user_id AND taken_until > clock_timestamp()) AS mine
FROM nightreel.cases
WHERE state IN ('open', 'second', 'escalated', 'appealed')
GROUP BY queue_id
