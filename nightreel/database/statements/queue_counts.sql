-- The cases of each queue that wait, by what they wait for. One of a golden item counts only while its person has it.
SELECT queue_id,
       count(*) FILTER (WHERE state = 'open') AS open,
       count(*) FILTER (WHERE state = 'second') AS second,
       count(*) FILTER (WHERE state = 'escalated') AS escalated,
       count(*) FILTER (WHERE state = 'appealed') AS appealed,
       count(*) FILTER (WHERE taken_until > clock_timestamp()) AS taken,
       count(*) FILTER (WHERE hold_until > clock_timestamp()) AS held,
       count(*) FILTER (WHERE taken_by = :user_id AND taken_until > clock_timestamp()) AS mine,
       min(opened_at) FILTER (WHERE taken_until IS NULL OR taken_until <= clock_timestamp()) AS oldest_at
FROM nightreel.cases
WHERE state IN ('open', 'second', 'escalated', 'appealed') AND (golden_id IS NULL OR taken_until > clock_timestamp())
GROUP BY queue_id
