-- How runs ended, and when the last of each kind did.
SELECT status, count(*) AS found, max(finished_at) AS finished_at
FROM nightreel.runs
GROUP BY status;
