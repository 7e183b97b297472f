-- The cases of queues that wait for a lead, the worst first.
SELECT case_id, queue, state, severity, uri, changed_at
FROM reporting.cases
WHERE state IN ('escalated', 'appealed')
  AND queue = ANY (CAST(:queues AS text[]))
  AND (:sees_restricted OR NOT restricted)
ORDER BY severity DESC NULLS LAST, case_id
LIMIT :most
