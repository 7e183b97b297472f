-- All answers with their verdicts: one row for each prompt that asks the question of an answer. Verdicts are made by nightreel.domain.judging and stored: no view judges.

-- The seconds of a segment that were seen. Features of versions that did not measure it: the share of good frames.
CREATE OR REPLACE FUNCTION nightreel.seen_s(covered_s float8, window_s float8, damaged_frames integer, frames integer)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(covered_s, window_s * (1 - damaged_frames::float8 / greatest(frames, 1)))
$$;

-- `video_covered_s` is null until the analysis has ended. Analyses that were done by versions that did not measure
-- coverage had at least nine good frames of ten in each segment.
CREATE OR REPLACE VIEW nightreel.all_answers AS
SELECT answer.id AS answer_id,
       video.uri,
       segment.index AS segment,
       segment.start_s,
       segment.end_s,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       question.kind,
       verdict.state,
       coalesce(verdict.text, CASE WHEN verdict.state = 'answered' THEN answer.text END) AS answer,
       coalesce(verdict.value, CASE WHEN verdict.state = 'answered' THEN to_jsonb(answer.text) END) AS value,
       answer.p,
       verdict.reason,
       verdict.flagged,
       verdict.needs_review,
       question.text AS question,
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
       question.hash AS prompt_hash,
       recipe.plan,
       recipe.window_s,
       answer.prompt_tokens,
       answer.generated_tokens,
       answer.feature_key,
       answer.reused_from,
       answer.run_id,
       run.environment -> 'libraries' AS libraries,
       answer.answered_at,
       segment.video_id,
       question.kind NOT IN ('yes_no', 'choice', 'tags')
           AND coalesce((question.definition #>> '{decoding,temperature}')::float8, 0) > 0 AS sampled,
       coalesce(answer.covered_s, nightreel.seen_s(
           feature.covered_s, segment.end_s - segment.start_s, feature.damaged_frames, cardinality(feature.pts_s)
       )) AS covered_s,
       greatest(segment.end_s - segment.start_s, segment.promised_s) AS expected_s,
       coalesce(analysis.covered_s, CASE WHEN analysis.status = 'done' THEN video.duration_s END) AS video_covered_s,
       video.expected_s AS video_expected_s,
       (policy.definition ->> 'coverage')::float8 AS coverage_wanted,
       verdict.severity,
       verdict.lane,
       verdict.labels,
       answer.mass,
       answer.bounds,
       verdict.due,
       verdict.outdated,
       verdict.policy_id,
       verdict.prompt_id,
       answer.question_id,
       answer.model_id,
       verdict.judged_at,
       verdict.shown,
       answer.superseded,
       video.replaced_at,
       coalesce(rolled.needs_review, false) AS video_needs_review,
       answer.look,
       answer.windows,
       verdict.look_again,
       verdict.start_s AS found_start_s,
       verdict.end_s AS found_end_s,
       video.restricted,
       video.restricted AND (SELECT nightreel.hides_restricted()) AS hidden
FROM nightreel.prompts AS prompt
JOIN nightreel.verdicts AS verdict ON verdict.prompt_id = prompt.id
JOIN nightreel.answers AS answer ON answer.id = verdict.answer_id
JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
JOIN nightreel.videos AS video ON video.id = segment.video_id
JOIN nightreel.questions AS question ON question.id = answer.question_id
JOIN nightreel.models AS model ON model.id = answer.model_id
JOIN nightreel.features AS feature ON feature.key = answer.feature_key
JOIN nightreel.runs AS run ON run.id = answer.run_id
JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
JOIN nightreel.policies AS policy ON policy.id = verdict.policy_id
LEFT JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id AND analysis.recipe_id = run.recipe_id
LEFT JOIN nightreel.video_verdicts AS rolled ON rolled.video_id = video.id AND rolled.prompt_id = prompt.id;
