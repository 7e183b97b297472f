-- The newest answer for each segment and prompt, with everything needed to check it. Set and name identify a prompt:
-- after an edit of its text, segments that were not asked again still show the answer to the old text.
-- `needs_review`: flagged, or not answered although the prompt has a flag. An unknown answer is never a "no".
-- `sampled`: drawn at random (a prompt with a temperature). The model may answer differently next time.
CREATE OR REPLACE VIEW reporting.answers AS
SELECT DISTINCT ON (answer.segment_id, prompt.set_name, prompt.name)
       answer.id AS answer_id,
       video.uri,
       segment.index AS segment,
       segment.start_s,
       segment.end_s,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       prompt.kind,
       answer.state,
       answer.text AS answer,
       answer.value,
       answer.p,
       answer.reason,
       prompt.flag IS NOT NULL AND answer.state = 'answered'
           AND (answer.text = prompt.flag OR (prompt.kind = 'tags' AND answer.value ? prompt.flag)) AS flagged,
       prompt.flag IS NOT NULL
           AND (answer.state <> 'answered' OR answer.text = prompt.flag
                OR (prompt.kind = 'tags' AND answer.value ? prompt.flag)) AS needs_review,
       prompt.text AS question,
       answer.scores,
       feature.pts_s AS frame_times_s,
       feature.damaged_frames,
       feature.thumbnail_uri,
       feature.decoder,
       feature.decoder_version,
       video.content_sha256,
       model.name AS model,
       model.revision AS model_revision,
       model.spec AS model_spec,
       prompt.hash AS prompt_hash,
       recipe.plan,
       recipe.window_s,
       answer.prompt_tokens,
       answer.generated_tokens,
       answer.feature_key,
       answer.reused_from,
       answer.run_id,
       run.environment -> 'libraries' AS libraries,
       answer.answered_at,
       video.id AS video_id,
       prompt.kind NOT IN ('yes_no', 'choice', 'tags')
           AND coalesce((prompt.definition #>> '{decoding,temperature}')::float8, 0) > 0 AS sampled
FROM nightreel.answers AS answer
JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
JOIN nightreel.videos AS video ON video.id = segment.video_id
JOIN nightreel.prompts AS prompt ON prompt.id = answer.prompt_id
JOIN nightreel.models AS model ON model.id = answer.model_id
JOIN nightreel.features AS feature ON feature.key = answer.feature_key
JOIN nightreel.runs AS run ON run.id = answer.run_id
JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
WHERE video.replaced_at IS NULL
ORDER BY answer.segment_id, prompt.set_name, prompt.name, answer.answered_at DESC, answer.id DESC;
