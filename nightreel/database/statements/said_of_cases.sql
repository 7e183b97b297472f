-- What people said of the contents of cases, without what is undone or waits for a second person, the oldest first.
SELECT one.id AS case_id,
       decision.prompt_id,
       decision.prompt,
       coalesce(decision.tag, '') AS tag,
       decision.reviewer,
       decision.stage,
       decision.ruling,
       decision.note,
       decision.decided_at
FROM nightreel.cases AS one
JOIN reporting.decisions AS decision ON decision.content_sha256 = one.content
WHERE one.id = ANY (CAST(:case_ids AS bigint[])) AND decision.undone_at IS NULL
ORDER BY decision.decision_id
