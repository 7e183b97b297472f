-- Analyses that are not done, by status; those that failed for good also by reason. Each kind is counted up to :most.
SELECT 'pending' AS status, NULL AS reason, count(*) AS found
FROM (SELECT FROM nightreel.analyses WHERE status = 'pending' LIMIT :most) AS pending
UNION ALL
SELECT 'claimed', NULL, count(*)
FROM (SELECT FROM nightreel.analyses WHERE status = 'claimed' LIMIT :most) AS claimed
UNION ALL
SELECT status, coalesce(reason, 'unknown'), count(*)
FROM (
    SELECT status, reason FROM nightreel.analyses WHERE status IN ('failed', 'quarantined', 'partly_done') LIMIT :most
) AS failed
GROUP BY 1, 2
ORDER BY 3 DESC;
