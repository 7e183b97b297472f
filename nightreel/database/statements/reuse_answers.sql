-- Copies the twin's answers to these questions (see reuse_segments.sql). Each copy refers to its original.
INSERT INTO nightreel.answers (segment_id, question_id, model_id, state, text, p, scores, mass, bounds, reason,
                               prompt_tokens, generated_tokens, look, windows, covered_s, feature_key, reused_from, run_id, answered_at)
SELECT DISTINCT ON (own.id, answer.question_id, answer.look)
       own.id, answer.question_id, answer.model_id, answer.state, answer.text, answer.p, answer.scores, answer.mass,
       answer.bounds, answer.reason, answer.prompt_tokens, answer.generated_tokens, answer.look, answer.windows,
       answer.covered_s, answer.feature_key,
       coalesce(answer.reused_from, answer.id), :run_id, answer.answered_at
FROM nightreel.videos AS twin
JOIN nightreel.segments AS segment ON segment.video_id = twin.id AND segment.plan_hash = :plan_hash
JOIN nightreel.segments AS own
    ON own.video_id = :video_id AND own.plan_hash = segment.plan_hash AND own.index = segment.index
JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
WHERE twin.content_sha256 = :content_sha256
  AND twin.id <> :video_id
  AND answer.model_id = :model_id
  AND answer.question_id = ANY (CAST(:question_ids AS bigint[]))
  AND answer.state <> 'error'
  AND NOT answer.superseded
ORDER BY own.id, answer.question_id, answer.look, answer.id
ON CONFLICT (segment_id, question_id, model_id, look) WHERE NOT superseded DO NOTHING
