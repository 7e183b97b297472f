-- How much was decided on each of the last days in each queue, and how long a case took, without who did it. Decisions
-- that were made in bulk have no time.
SELECT CAST(decision.decided_at AT TIME ZONE :time_zone AS date) AS day,
       queue.name AS queue,
       count(DISTINCT decision.case_id) AS cases,
       count(*) AS labels,
       count(*) FILTER (WHERE decision.ruling = 'confirm') AS confirmed,
       count(*) FILTER (WHERE undone.id IS NOT NULL) AS undone,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY decision.seconds_spent) AS median_s
FROM nightreel.decisions AS decision
JOIN nightreel.cases AS one ON one.id = decision.case_id
JOIN nightreel.queues AS queue ON queue.id = one.queue_id
LEFT JOIN nightreel.decisions AS undone ON undone.undoes = decision.id
WHERE decision.undoes IS NULL
  AND decision.decided_at > clock_timestamp() - make_interval(days => :days)
GROUP BY day, queue.name
ORDER BY day DESC, queue.name
