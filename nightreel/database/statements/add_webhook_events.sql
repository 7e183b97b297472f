-- For each change of a flag, one delivery for each webhook that wants it. A webhook without the scope gets nothing about
-- restricted videos. The payload never has a caption or another text of a model. `ranges`: at most 100 of them.
-- `run_id`: the newest run with an answer on show.
WITH change AS MATERIALIZED (
    SELECT one.video_id, one.prompt_id, one.type, one.severity_before,
           'evt_' || replace(CAST(gen_random_uuid() AS text), '-', '') AS event_id
    FROM unnest(
        CAST(:video_ids AS bigint[]), CAST(:prompt_ids AS bigint[]), CAST(:types AS text[]),
        CAST(:severities_before AS integer[])
    ) AS one (video_id, prompt_id, type, severity_before)
)
INSERT INTO nightreel.webhook_deliveries (event_id, webhook_id, video_id, type, payload)
SELECT change.event_id,
       webhook.id,
       change.video_id,
       change.type,
       jsonb_build_object(
           'type', change.type,
           'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'data', jsonb_build_object(
               'event_id', change.event_id,
               'video_id', change.video_id,
               'uri', video.uri,
               'prompt_set', prompt.set_name,
               'prompt', prompt.name,
               'state', verdict.state,
               'severity', verdict.severity,
               'severity_before', change.severity_before,
               'ranges', coalesce(jsonb_path_query_array(flag.ranges, '$[0 to 99]'), CAST('[]' AS jsonb)),
               'ranges_in_all', coalesce(jsonb_array_length(flag.ranges), 0),
               'p', coalesce(flag.worst_p, verdict.max_p),
               'policy_id', verdict.policy_id,
               'run_id', (
                   SELECT max(answer.run_id)
                   FROM nightreel.segments AS segment
                   JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
                   JOIN nightreel.verdicts AS one ON one.answer_id = answer.id
                   WHERE segment.video_id = change.video_id AND one.prompt_id = change.prompt_id AND one.shown
               )
           )
       )
FROM change
JOIN nightreel.videos AS video ON video.id = change.video_id
JOIN nightreel.prompts AS prompt ON prompt.id = change.prompt_id
LEFT JOIN nightreel.video_verdicts AS verdict
    ON verdict.video_id = change.video_id AND verdict.prompt_id = change.prompt_id
LEFT JOIN reporting.flags AS flag ON flag.video_id = change.video_id AND flag.prompt_id = change.prompt_id
JOIN nightreel.webhooks AS webhook
    ON webhook.disabled_at IS NULL
    AND (webhook.set_name IS NULL OR webhook.set_name = prompt.set_name)
    AND (webhook.prompt IS NULL OR webhook.prompt = prompt.name)
    AND (webhook.least_severity IS NULL
         OR greatest(change.severity_before, verdict.severity) >= webhook.least_severity)
WHERE webhook.restricted OR NOT video.restricted
-- A webhook that is removed meanwhile gets nothing, and does not fail this transaction.
FOR KEY SHARE OF webhook
