-- What a person sees of a video before any moving picture: its segments with captions, those with a finding first.
SELECT answer.segment,
       min(answer.start_s) AS start_s,
       max(answer.end_s) AS end_s,
       string_agg(DISTINCT answer.answer, ' ') FILTER (WHERE answer.kind = 'caption') AS caption,
       array_agg(DISTINCT answer.prompt) FILTER (WHERE answer.answer_id = ANY (CAST(:answer_ids AS bigint[]))) AS prompts,
       bool_or(answer.thumbnail_uri IS NOT NULL) AS has_sheet,
       bool_or(answer.restricted) AS restricted
FROM reporting.answers AS answer
WHERE answer.video_id = :video_id
  AND answer.due
  AND (answer.kind = 'caption' OR answer.answer_id = ANY (CAST(:answer_ids AS bigint[])))
GROUP BY answer.segment
ORDER BY count(*) FILTER (WHERE answer.answer_id = ANY (CAST(:answer_ids AS bigint[]))) = 0, answer.segment
LIMIT :most
