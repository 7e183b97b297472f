-- The number of runs by status, and when the last one ended.
SELECT status, count(*) AS found, max(finished_at) AS finished_at
FROM nightreel.runs
GROUP BY status;
