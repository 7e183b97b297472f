-- The newest answer for each segment and prompt as it was given, with how much was seen. Views of schema `reporting`
-- judge it: a "no" about a segment or a video of which too little was seen is unknown. The functions read no tables,
-- because they run with the rights of the person who reads a view. `nightreel.domain.judging` has the same rule.

-- The seconds of a segment that were seen. Features of versions that did not measure it: the share of good frames.
CREATE OR REPLACE FUNCTION nightreel.seen_s(covered_s float8, window_s float8, damaged_frames integer, frames integer)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(covered_s, window_s * (1 - damaged_frames::float8 / greatest(frames, 1)))
$$;

-- Whether too little was seen for a "no". An unknown coverage is too little. Sums of seconds are rounded.
CREATE OR REPLACE FUNCTION nightreel.too_little(covered_s float8, expected_s float8, min_coverage float8)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(covered_s + 1e-6 < min_coverage * expected_s, min_coverage > 0)
$$;

-- The coverage in words. The seen seconds are rounded down, so that a part never looks like the whole.
CREATE OR REPLACE FUNCTION nightreel.saw(covered_s float8, expected_s float8)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN covered_s IS NULL OR expected_s IS NULL THEN 'it is not known how much was seen'
                ELSE 'saw ' || trim_scale(trunc((covered_s + 1e-7)::numeric, 1)) || ' of '
                     || trim_scale(round(expected_s::numeric, 1)) || ' s'
           END
$$;

-- Whether an answer says that something does not occur: "no", no tag, or the number 0.
CREATE OR REPLACE FUNCTION nightreel.is_no(kind text, value jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(CASE kind WHEN 'yes_no' THEN value = 'false'
                              WHEN 'tags' THEN value = '[]'
                              WHEN 'number' THEN value = '0'
                    END, false)
$$;

-- `video_covered_s` is null until the analysis has ended. Analyses that were done by versions that did not measure
-- coverage had at least nine good frames of ten in each segment.
CREATE OR REPLACE VIEW nightreel.newest_answers AS
SELECT newest.answer_id,
       newest.segment_id,
       newest.prompt_id,
       newest.model_id,
       newest.state,
       newest.text,
       newest.value,
       newest.p,
       newest.scores,
       newest.reason,
       newest.prompt_tokens,
       newest.generated_tokens,
       newest.feature_key,
       newest.reused_from,
       newest.run_id,
       newest.answered_at,
       newest.video_id,
       newest.index,
       newest.start_s,
       newest.end_s,
       newest.uri,
       newest.content_sha256,
       newest.set_name,
       newest.prompt,
       newest.kind,
       newest.flag,
       newest.covered_s,
       newest.expected_s,
       newest.video_covered_s,
       newest.video_expected_s,
       newest.question,
       newest.prompt_hash,
       newest.definition,
       newest.pts_s,
       newest.damaged_frames,
       newest.thumbnail_uri,
       newest.decoder,
       newest.decoder_version,
       newest.environment,
       newest.recipe_id,
       coalesce(newest.flag IS NOT NULL AND newest.state = 'answered'
                AND (newest.text = newest.flag OR newest.kind = 'tags' AND newest.value ? newest.flag), false) AS flagged,
       nightreel.is_no(newest.kind, newest.value)
           AND nightreel.too_little(newest.covered_s, newest.expected_s, newest.min_coverage) AS unproven,
       nightreel.too_little(newest.covered_s, newest.expected_s, newest.min_coverage) AS little_seen,
       nightreel.too_little(newest.video_covered_s, newest.video_expected_s, newest.min_coverage) AS little_of_video
FROM (
    SELECT DISTINCT ON (answer.segment_id, prompt.set_name, prompt.name)
           answer.id AS answer_id,
           answer.segment_id,
           answer.prompt_id,
           answer.model_id,
           answer.state,
           answer.text,
           answer.value,
           answer.p,
           answer.scores,
           answer.reason,
           answer.prompt_tokens,
           answer.generated_tokens,
           answer.feature_key,
           answer.reused_from,
           answer.run_id,
           answer.answered_at,
           segment.video_id,
           segment.index,
           segment.start_s,
           segment.end_s,
           video.uri,
           video.content_sha256,
           prompt.set_name,
           prompt.name AS prompt,
           prompt.kind,
           prompt.flag,
           nightreel.seen_s(
               feature.covered_s, segment.end_s - segment.start_s, feature.damaged_frames, cardinality(feature.pts_s)
           ) AS covered_s,
           greatest(segment.end_s - segment.start_s, segment.promised_s) AS expected_s,
           coalesce(analysis.covered_s, CASE WHEN analysis.status = 'done' THEN video.duration_s END) AS video_covered_s,
           video.expected_s AS video_expected_s,
           coalesce((SELECT min_coverage FROM nightreel.judging), 0.8) AS min_coverage,
           prompt.text AS question,
           prompt.hash AS prompt_hash,
           prompt.definition,
           feature.pts_s,
           feature.damaged_frames,
           feature.thumbnail_uri,
           feature.decoder,
           feature.decoder_version,
           run.environment,
           run.recipe_id
    FROM nightreel.answers AS answer
    JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
    JOIN nightreel.videos AS video ON video.id = segment.video_id
    JOIN nightreel.prompts AS prompt ON prompt.id = answer.prompt_id
    JOIN nightreel.features AS feature ON feature.key = answer.feature_key
    JOIN nightreel.runs AS run ON run.id = answer.run_id
    LEFT JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id AND analysis.recipe_id = run.recipe_id
    WHERE video.replaced_at IS NULL
    ORDER BY answer.segment_id, prompt.set_name, prompt.name, answer.answered_at DESC, answer.id DESC
) AS newest;
