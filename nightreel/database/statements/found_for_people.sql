-- The verdicts that a person should see, about all current videos with these contents, with the answers on show behind
-- them. `prompt_ids`: only of these prompts; null: of all. Copies differ only where other prompts or models are current
-- for their sources: then the worst verdict comes first.
WITH wanted AS MATERIALIZED (
    SELECT video.id, video.content_sha256 AS content
    FROM nightreel.videos AS video
    WHERE video.content_sha256 = ANY (CAST(:contents AS text[])) AND video.replaced_at IS NULL
    UNION ALL
    SELECT video.id, 'video:' || video.id
    FROM nightreel.videos AS video
    WHERE video.id = ANY (CAST(:video_ids AS bigint[])) AND video.content_sha256 IS NULL AND video.replaced_at IS NULL
)
SELECT wanted.content,
       verdict.video_id,
       verdict.prompt_id,
       prompt.set_name,
       prompt.name,
       question.kind,
       policy.definition AS policy,
       verdict.policy_id,
       verdict.state,
       verdict.flagged,
       verdict.severity,
       verdict.lane,
       verdict.labels,
       verdict.reason,
       coalesce(verdict.first_flagged_s, part.first_s) AS first_s,
       part.ranges,
       part.p,
       part.answer_ids,
       part.model_ids
FROM wanted
JOIN nightreel.video_verdicts AS verdict ON verdict.video_id = wanted.id AND verdict.needs_review
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
JOIN nightreel.policies AS policy ON policy.id = verdict.policy_id
CROSS JOIN LATERAL (
    SELECT min(lower(seen.range))::float8 AS first_s,
           (SELECT jsonb_agg(jsonb_build_array(lower(merged), upper(merged)) ORDER BY merged)
            FROM unnest(range_agg(seen.range)) AS merged) AS ranges,
           max(seen.p) AS p,
           array_agg(seen.answer_id ORDER BY seen.answer_id) AS answer_ids,
           array_agg(DISTINCT seen.model_id ORDER BY seen.model_id) AS model_ids
    FROM (
        SELECT numrange(
                   coalesce(one.start_s, segment.start_s)::numeric, coalesce(one.end_s, segment.end_s)::numeric, '[]'
               ) AS range,
               answer.p,
               answer.id AS answer_id,
               answer.model_id
        FROM nightreel.segments AS segment
        JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
        JOIN nightreel.verdicts AS one ON one.answer_id = answer.id AND one.prompt_id = verdict.prompt_id
        WHERE segment.video_id = verdict.video_id AND one.shown
          AND (one.flagged OR one.state <> 'answered' OR (verdict.state = 'answered' AND NOT verdict.flagged))
    ) AS seen
) AS part
WHERE CAST(:prompt_ids AS bigint[]) IS NULL OR verdict.prompt_id = ANY (CAST(:prompt_ids AS bigint[]))
ORDER BY verdict.flagged DESC, verdict.severity DESC NULLS LAST, verdict.video_id
