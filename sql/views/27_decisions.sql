-- What people decided, one row for each label, never changed: with the pseudonym of who did. `undone_at`: it does not stand
-- any more. `stands`: it is what people say of the label now. A decision that waits for a second review is left out, so
-- that the second person cannot see it, and so is one about a golden item, which is about no video.
CREATE OR REPLACE VIEW reporting.decisions AS
SELECT decision.id AS decision_id,
       decision.case_id,
       queue.name AS queue,
       copy.video_id,
       copy.uri,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       nullif(decision.tag, '') AS tag,
       decision.ruling,
       decision.stage,
       decision.start_s,
       decision.end_s,
       CASE WHEN NOT (copy.restricted AND (SELECT nightreel.hides_restricted())) THEN decision.note END AS note,
       person.pseudonym AS reviewer,
       decision.decided_at,
       decision.seconds_spent,
       decision.batch_id::text AS batch_id,
       undone.decided_at AS undone_at,
       standing.id IS NOT NULL AS stands,
       decision.shown ->> 'found' AS found,
       (decision.shown ->> 'severity')::integer AS severity,
       (decision.shown ->> 'p')::double precision AS p,
       (decision.shown ->> 'policy_id')::bigint AS policy_id,
       decision.shown -> 'answer_ids' AS answer_ids,
       decision.shown -> 'model_ids' AS model_ids,
       decision.content AS content_sha256,
       decision.prompt_id,
       copy.restricted
FROM nightreel.decisions AS decision
JOIN nightreel.cases AS one ON one.id = decision.case_id AND one.golden_id IS NULL
JOIN nightreel.queues AS queue ON queue.id = one.queue_id
JOIN nightreel.prompts AS prompt ON prompt.id = decision.prompt_id
JOIN nightreel.users AS person ON person.id = decision.user_id
LEFT JOIN nightreel.decisions AS undone ON undone.undoes = decision.id
LEFT JOIN LATERAL (
    SELECT newest.id
    FROM nightreel.standing_decisions AS newest
    WHERE newest.content = decision.content AND newest.prompt_id = decision.prompt_id AND newest.tag = decision.tag
      AND newest.id = decision.id
) AS standing ON true
CROSS JOIN LATERAL (
    SELECT min(video.video_id) AS video_id, min(video.uri) AS uri, coalesce(bool_or(video.restricted), false) AS restricted
    FROM nightreel.case_videos AS video
    WHERE video.case_id = decision.case_id
) AS copy
WHERE decision.undoes IS NULL
  AND NOT (
      decision.stage = 'first' AND decision.needs_second AND decision.ruling <> 'escalate' AND undone.id IS NULL
      AND NOT EXISTS (
          SELECT FROM nightreel.decisions AS later
          WHERE later.content = decision.content AND later.prompt_id = decision.prompt_id AND later.tag = decision.tag
            AND later.id > decision.id AND later.undoes IS NULL
            AND NOT EXISTS (SELECT FROM nightreel.decisions AS gone WHERE gone.undoes = later.id)
      )
  );
