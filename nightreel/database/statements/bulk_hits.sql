-- The labels that a bulk decision hits: of open cases of a queue that nobody has, without a decision that stands. Those
-- of audits and golden items are left out: each of them measures what a person sees in it.
SELECT hit.case_id, hit.prompt_id, hit.tag, one.version
FROM nightreel.cases AS one
JOIN nightreel.findings AS hit ON hit.case_id = one.id
JOIN reporting.policies AS policy ON policy.policy_id = hit.policy_id
WHERE one.queue_id = :queue_id
  AND one.state = 'open'
  AND one.golden_id IS NULL
  AND NOT EXISTS (
      SELECT FROM nightreel.sampled_labels AS sampled
      WHERE sampled.content = one.content AND sampled.prompt_id = hit.prompt_id AND sampled.tag = hit.tag
        AND hit.evidence -> 'p' = 'null'
  )
  AND (one.taken_until IS NULL OR one.taken_until <= clock_timestamp())
  AND (CAST(:category AS text) IS NULL OR hit.category = :category)
  AND (CAST(:prompt AS text) IS NULL OR policy.prompt = :prompt)
  AND (CAST(:tag AS text) IS NULL OR hit.tag = :tag)
  AND (CAST(:found AS text) IS NULL OR hit.found = :found)
  AND (CAST(:min_severity AS integer) IS NULL OR hit.severity >= :min_severity)
  AND (CAST(:max_severity AS integer) IS NULL OR coalesce(hit.severity, 0) <= :max_severity)
  AND (CAST(:min_p AS float8) IS NULL OR CAST(hit.evidence ->> 'p' AS float8) >= :min_p)
  AND (CAST(:max_p AS float8) IS NULL OR CAST(hit.evidence ->> 'p' AS float8) <= :max_p)
  AND (CAST(:under AS text) IS NULL OR EXISTS (
      SELECT FROM nightreel.case_videos AS copy WHERE copy.case_id = one.id AND starts_with(copy.uri, :under)
  ))
  AND (:sees_restricted OR NOT EXISTS (
      SELECT FROM nightreel.case_videos AS copy WHERE copy.case_id = one.id AND copy.restricted
  ))
  AND NOT EXISTS (
      SELECT FROM nightreel.decisions AS earlier
      WHERE earlier.content = one.content AND earlier.prompt_id = hit.prompt_id AND earlier.tag = hit.tag
        AND earlier.undoes IS NULL
        AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = earlier.id)
  )
ORDER BY hit.case_id, hit.prompt_id, hit.tag
