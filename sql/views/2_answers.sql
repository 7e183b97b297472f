-- The newest answer for each segment and prompt, with everything needed to check it. Set and name identify a prompt:
-- after an edit of its text, segments that were not asked again still show the answer to the old text.
-- A "no" about a segment of which too little was seen is unknown (0_newest_answers.sql): a failure is never a "no".
-- `needs_review`: the prompt has a flag, and the answer is flagged, is not answered, or too little of the segment or of
-- its video was seen.
-- `sampled`: drawn at random (a prompt with a temperature). The model may answer differently next time.
CREATE OR REPLACE VIEW reporting.answers AS
SELECT answer.answer_id,
       answer.uri,
       answer.index AS segment,
       answer.start_s,
       answer.end_s,
       answer.set_name AS prompt_set,
       answer.prompt,
       answer.kind,
       CASE WHEN answer.unproven THEN 'unknown' ELSE answer.state END AS state,
       CASE WHEN NOT answer.unproven THEN answer.text END AS answer,
       CASE WHEN NOT answer.unproven THEN answer.value END AS value,
       answer.p,
       CASE WHEN answer.unproven THEN nightreel.saw(answer.covered_s, answer.expected_s) ELSE answer.reason END AS reason,
       answer.flagged,
       answer.flag IS NOT NULL
           AND (answer.state <> 'answered' OR answer.flagged OR answer.little_seen OR answer.little_of_video)
           AS needs_review,
       answer.question,
       answer.scores,
       answer.pts_s AS frame_times_s,
       answer.damaged_frames,
       answer.thumbnail_uri,
       answer.decoder,
       answer.decoder_version,
       answer.content_sha256,
       model.name AS model,
       model.revision AS model_revision,
       model.spec AS model_spec,
       answer.prompt_hash,
       recipe.plan,
       recipe.window_s,
       answer.prompt_tokens,
       answer.generated_tokens,
       answer.feature_key,
       answer.reused_from,
       answer.run_id,
       answer.environment -> 'libraries' AS libraries,
       answer.answered_at,
       answer.video_id,
       answer.kind NOT IN ('yes_no', 'choice', 'tags')
           AND coalesce((answer.definition #>> '{decoding,temperature}')::float8, 0) > 0 AS sampled,
       answer.covered_s,
       answer.expected_s,
       answer.video_covered_s,
       answer.video_expected_s,
       answer.little_of_video
FROM nightreel.newest_answers AS answer
JOIN nightreel.models AS model ON model.id = answer.model_id
JOIN nightreel.recipes AS recipe ON recipe.id = answer.recipe_id;
