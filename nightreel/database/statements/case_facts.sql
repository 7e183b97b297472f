-- What the states of cases depend on: the labels that are found, the decisions that stand about their contents, in the
-- order of their ids, and the newest appeal.
SELECT one.id AS case_id,
       ARRAY(
           SELECT jsonb_build_array(finding.prompt_id, finding.tag)
           FROM nightreel.findings AS finding
           WHERE finding.case_id = one.id
       ) AS found,
       ARRAY(
           SELECT jsonb_build_object(
               'id', decision.id,
               'case_id', decision.case_id,
               'prompt_id', decision.prompt_id,
               'tag', decision.tag,
               'stage', decision.stage,
               'ruling', decision.ruling,
               'user_id', decision.user_id,
               'needs_second', decision.needs_second,
               'appeal_id', decision.appeal_id
           )
           FROM nightreel.decisions AS decision
           WHERE decision.content = one.content
             AND decision.undoes IS NULL
             AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = decision.id)
           ORDER BY decision.id
       ) AS decisions,
       (
           SELECT max(event.id)
           FROM nightreel.case_events AS event
           WHERE event.case_id = one.id AND event.kind = 'appealed'
       ) AS appeal_id
FROM nightreel.cases AS one
WHERE one.id = ANY (CAST(:case_ids AS bigint[]))
