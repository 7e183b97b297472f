-- How many videos failed, by reason?
SELECT reason, count(*) AS videos, min(uri) AS example
FROM reporting.failures
GROUP BY reason
ORDER BY videos DESC, reason;
