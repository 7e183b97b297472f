-- The labels of these contents that audits ask people about, with the verdicts on them. They look like labels that are
-- not known, about the whole video: people must not see that the machine says something.
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
       sampled.tag,
       verdict.video_id,
       verdict.prompt_id,
       prompt.set_name,
       prompt.name,
       policy.definition AS policy,
       verdict.policy_id,
       part.start_s,
       part.end_s,
       part.answer_ids,
       part.model_ids
FROM wanted
JOIN nightreel.sampled_labels AS sampled ON sampled.content = wanted.content
JOIN nightreel.video_verdicts AS verdict ON verdict.video_id = wanted.id AND verdict.prompt_id = sampled.prompt_id
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.policies AS policy ON policy.id = verdict.policy_id
CROSS JOIN LATERAL (
    SELECT min(segment.start_s) AS start_s,
           max(segment.end_s) AS end_s,
           coalesce(array_agg(answer.id ORDER BY answer.id), '{}') AS answer_ids,
           coalesce(array_agg(DISTINCT answer.model_id ORDER BY answer.model_id), '{}') AS model_ids
    FROM nightreel.segments AS segment
    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
    JOIN nightreel.verdicts AS one ON one.answer_id = answer.id AND one.prompt_id = verdict.prompt_id
    WHERE segment.video_id = verdict.video_id AND one.shown
) AS part
WHERE CAST(:prompt_ids AS bigint[]) IS NULL OR verdict.prompt_id = ANY (CAST(:prompt_ids AS bigint[]))
ORDER BY verdict.video_id
