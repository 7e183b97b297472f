-- Copies answers about whole videos that were asked over the same notes: of videos with the same bytes. Each copy refers to
-- its original.
INSERT INTO nightreel.whole_answers (video_id, question_id, model_id, plan_hash, notes_id, state, text, p, scores, mass,
                                     bounds, reason, prompt_tokens, generated_tokens, covered_s, expected_s, sums,
                                     reused_from, run_id, answered_at)
SELECT DISTINCT ON (whole.question_id)
       :video_id, whole.question_id, whole.model_id, whole.plan_hash, whole.notes_id, whole.state, whole.text, whole.p,
       whole.scores, whole.mass, whole.bounds, whole.reason, whole.prompt_tokens, whole.generated_tokens,
       whole.covered_s, whole.expected_s, whole.sums, coalesce(whole.reused_from, whole.id), :run_id, whole.answered_at
FROM nightreel.notes AS notes
JOIN nightreel.whole_answers AS whole ON whole.notes_id = notes.id
WHERE notes.key = :notes_key
  AND whole.question_id = ANY (CAST(:question_ids AS bigint[]))
  AND whole.model_id = :model_id
  AND whole.plan_hash = :plan_hash
ORDER BY whole.question_id, whole.id
ON CONFLICT (video_id, question_id, model_id, plan_hash) WHERE NOT superseded DO NOTHING
