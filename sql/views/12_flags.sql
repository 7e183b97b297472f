-- What crossed a line, and what might have: one row for each current video and prompt whose verdict is flagged, and for each
-- whose prompt can flag and that is unknown or failed. `found`: flagged, unknown or error. `ranges`: the flagged seconds
-- of the video, merged: [[0, 20], [40, 60]]; of an unknown or failed one, the seconds that are not known. `worst_p`: the
-- highest probability of a flagged answer. `decision`: what people said of the same content: confirm if they confirmed any
-- of its labels, else unsure, else reject; null: nothing yet.
CREATE OR REPLACE VIEW reporting.flags AS
SELECT verdict.video_id,
       video.uri,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       question.kind,
       CASE verdict.state WHEN 'answered' THEN 'flagged' ELSE verdict.state END AS found,
       verdict.severity,
       verdict.lane,
       CASE WHEN nightreel.is_free_text(question.kind) AND video.restricted AND (SELECT nightreel.hides_restricted())
            THEN NULL ELSE verdict.text END AS answer,
       verdict.reason,
       coalesce(verdict.first_flagged_s, part.first_s) AS first_s,
       part.ranges,
       part.segments,
       verdict.segments::bigint AS segments_in_all,
       coalesce(part.worst_p, verdict.max_p) AS worst_p,
       verdict.needs_review,
       verdict.policy_id,
       verdict.judged_at,
       prompt.id AS prompt_id,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id || '?t=' || coalesce(verdict.first_flagged_s, part.first_s, 0) AS console_url,
       CASE WHEN NOT (video.restricted AND (SELECT nightreel.hides_restricted()))
            THEN (SELECT console_url FROM nightreel.site) || '/api/v1/videos/' || video.id || '/thumbnail' END AS thumbnail_url,
       people.decision,
       people.decided_at
FROM nightreel.video_verdicts AS verdict
JOIN nightreel.videos AS video ON video.id = verdict.video_id AND video.replaced_at IS NULL
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
JOIN nightreel.policies AS policy ON policy.id = verdict.policy_id
CROSS JOIN LATERAL (
    SELECT count(*) AS segments,
           min(lower(seen.range))::float8 AS first_s,
           (SELECT jsonb_agg(jsonb_build_array(lower(merged), upper(merged)) ORDER BY merged)
            FROM unnest(range_agg(seen.range)) AS merged) AS ranges,
           max(seen.p) AS worst_p
    FROM (
        SELECT numrange(
                   coalesce(one.start_s, segment.start_s)::numeric, coalesce(one.end_s, segment.end_s)::numeric, '[]'
               ) AS range,
               answer.p
        FROM nightreel.segments AS segment
        JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
        JOIN nightreel.verdicts AS one ON one.answer_id = answer.id AND one.prompt_id = verdict.prompt_id
        WHERE segment.video_id = verdict.video_id AND one.shown
          AND CASE verdict.state WHEN 'answered' THEN one.flagged ELSE one.flagged OR one.state <> 'answered' END
    ) AS seen
) AS part
CROSS JOIN LATERAL (
    SELECT CASE WHEN bool_or(one.ruling = 'confirm') THEN 'confirm'
                WHEN bool_or(one.ruling = 'unsure') THEN 'unsure'
                WHEN bool_or(one.ruling = 'reject') THEN 'reject' END AS decision,
           max(one.decided_at) AS decided_at
    FROM nightreel.standing_decisions AS one
    WHERE one.content = coalesce(video.content_sha256, 'video:' || video.id) AND one.prompt_id = verdict.prompt_id
) AS people
WHERE verdict.flagged
   OR (verdict.state <> 'answered' AND jsonb_path_exists(policy.definition, '$.flags[*]'));
