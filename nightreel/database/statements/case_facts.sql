-- The decisions that stand about the contents of cases, in the order of their ids.
SELECT decision.content,
       decision.case_id,
       decision.id,
       decision.prompt_id,
       decision.tag,
       decision.stage,
       decision.ruling,
       decision.user_id,
       decision.needs_second,
       decision.appeal_id
FROM nightreel.decisions AS decision
WHERE decision.content = ANY (CAST(:contents AS text[]))
  AND decision.undoes IS NULL
  AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = decision.id)
ORDER BY decision.id
