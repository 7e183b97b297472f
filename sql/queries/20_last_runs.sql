-- What did the last runs do, and how long did they take?
SELECT run_id, name, status, started_at, round(seconds::numeric) AS seconds, counts -> 'videos' AS videos,
       counts -> 'reasons' AS reasons
FROM reporting.runs
ORDER BY run_id DESC
LIMIT 20;
