-- The next case of a queue for a user: the worst first, then the oldest. `lock`: a case that another transaction is
-- taking is passed over, so two people never get one case. `states`: those that the user may decide in. `more`: another
-- condition. A second person, and the lead who decides an escalation or an appeal, is somebody else than who decided
-- before. Counts, not NOT EXISTS, for which Postgres may read all videos first: a few of the first cases are enough. And
-- golden_id is compared so that only the index in this order fits: without statistics, as after many new cases, Postgres
-- would take the one for counts, and check and sort all cases of the queue.
SELECT waiting.id
FROM nightreel.cases AS waiting
WHERE waiting.queue_id = :queue_id
  AND waiting.state IN $states
  AND coalesce(waiting.golden_id, 0) = 0
  $more
  AND (waiting.taken_until IS NULL OR waiting.taken_until <= clock_timestamp())
  AND (waiting.hold_until IS NULL OR waiting.hold_until <= clock_timestamp())
  AND (waiting.assigned_to IS NULL OR waiting.assigned_to = :user_id)
  AND NOT :user_id = ANY (waiting.skipped_by)
  AND (waiting.state = 'open' OR 0 = (
      SELECT count(*) FROM nightreel.decisions AS earlier
      WHERE earlier.content = waiting.content AND earlier.user_id = :user_id AND earlier.undoes IS NULL
        AND (earlier.case_id = waiting.id OR EXISTS (
            SELECT FROM nightreel.findings AS finding
            WHERE finding.case_id = waiting.id AND finding.prompt_id = earlier.prompt_id
              AND finding.tag = earlier.tag
        ))
        AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = earlier.id)
  ))
  AND (:sees_restricted OR 0 = (
      SELECT count(*) FROM nightreel.case_videos AS one WHERE one.case_id = waiting.id AND one.restricted
  ))
ORDER BY waiting.severity DESC, waiting.id
LIMIT 1
$lock
