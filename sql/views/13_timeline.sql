-- What was found in a video, second by second: the answers on show, in the order of time, with what an analyst needs.
-- `reporting.answers` has everything else.
CREATE OR REPLACE VIEW reporting.timeline AS
SELECT video_id, uri, segment, start_s, end_s, prompt_set, prompt, state, answer, p, flagged, severity, lane, reason,
       restricted, console_url, thumbnail_url, answer_id, prompt_id, kind
FROM reporting.answers
WHERE due;

-- The segments of current videos: what was sampled of each, and what it takes to see it again.
CREATE OR REPLACE VIEW reporting.segments AS
SELECT segment.video_id,
       video.uri,
       segment.index AS segment,
       segment.start_s,
       segment.end_s,
       feature.pts_s AS frame_times_s,
       feature.damaged_frames,
       feature.decoder,
       feature.decoder_version,
       CASE WHEN video.restricted AND (SELECT nightreel.hides_restricted())
            THEN NULL ELSE feature.thumbnail_uri END AS thumbnail_uri,
       nightreel.seen_s(
           feature.covered_s, segment.end_s - segment.start_s, feature.damaged_frames, cardinality(feature.pts_s)
       ) AS covered_s,
       greatest(segment.end_s - segment.start_s, segment.promised_s) AS expected_s,
       feature.key AS feature_key,
       feature.plan,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id || '?t=' || segment.start_s AS console_url,
       CASE WHEN NOT (video.restricted AND (SELECT nightreel.hides_restricted()))
            THEN (SELECT console_url FROM nightreel.site) || '/api/v1/videos/' || video.id || '/thumbnail' || '?segment=' || segment.index END AS thumbnail_url,
       segment.id AS segment_id
FROM nightreel.segments AS segment
JOIN nightreel.videos AS video ON video.id = segment.video_id AND video.replaced_at IS NULL
JOIN LATERAL (
    SELECT answer.feature_key FROM nightreel.answers AS answer
    WHERE answer.segment_id = segment.id
    ORDER BY answer.id + 0 DESC  -- not by the primary key, which knows no segment
    LIMIT 1
) AS newest ON true
JOIN nightreel.features AS feature ON feature.key = newest.feature_key;

-- The tags of current videos: one row for each tag that a prompt gave. Choices and keywords count as tags. Keywords of
-- restricted videos are free words of a model: those who may not read these have no rows of them.
CREATE OR REPLACE VIEW reporting.tags AS
SELECT verdict.video_id,
       video.uri,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       tag.value AS tag,
       verdict.flagged,
       verdict.severity,
       verdict.lane,
       verdict.judged_at,
       prompt.id AS prompt_id,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id AS console_url,
       CASE WHEN NOT (video.restricted AND (SELECT nightreel.hides_restricted()))
            THEN (SELECT console_url FROM nightreel.site) || '/api/v1/videos/' || video.id || '/thumbnail' END AS thumbnail_url
FROM nightreel.video_verdicts AS verdict
JOIN nightreel.videos AS video ON video.id = verdict.video_id AND video.replaced_at IS NULL
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
CROSS JOIN LATERAL jsonb_array_elements_text(
    CASE jsonb_typeof(verdict.value) WHEN 'array' THEN verdict.value ELSE jsonb_build_array(verdict.value) END
) AS tag (value)
WHERE verdict.state = 'answered' AND question.kind IN ('tags', 'choice', 'keywords') AND verdict.value IS NOT NULL
  AND NOT (nightreel.is_free_text(question.kind) AND video.restricted AND (SELECT nightreel.hides_restricted()));
