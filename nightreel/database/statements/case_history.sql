-- The events and the decisions of a case, the oldest first.
SELECT one.*, person.name, person.pseudonym
FROM (
    SELECT event.at, event.id AS place, 0 AS part, event.kind AS what, event.user_id, event.state, event.batch_id,
           NULL AS prompt, NULL AS tag, NULL AS note, event.detail, CAST(NULL AS bigint) AS decision_id
    FROM nightreel.case_events AS event
    WHERE event.case_id = :case_id
    UNION ALL
    SELECT decision.decided_at, decision.id, 1, coalesce(decision.ruling, 'undo'), decision.user_id, NULL,
           decision.batch_id, decision.shown ->> 'prompt', decision.tag, decision.note,
           jsonb_strip_nulls(jsonb_build_object(
               'decision_id', decision.id, 'stage', decision.stage, 'undoes', decision.undoes,
               'start_s', decision.start_s, 'end_s', decision.end_s, 'seconds_spent', round(decision.seconds_spent)
           )),
           decision.id
    FROM nightreel.decisions AS decision
    WHERE decision.case_id = :case_id
) AS one
LEFT JOIN nightreel.users AS person ON person.id = one.user_id
ORDER BY one.at, one.part, one.place
