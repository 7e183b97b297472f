-- What the answers on show of a video's segments say about the video: see `roll_up` in docs/prompts.md. `max_p`: the
-- greatest probability that a segment gives the answer shown. `missing`: segments that have no verdict yet.
-- The answers of prompts of `level: video` are not rolled up. `made_from` has the answers of which they were made, by the
-- `answer_id` of reporting.answers_all; `sums` what was made of parts of notes that are too long for the model.
CREATE OR REPLACE VIEW reporting.video_answers AS
SELECT video.id AS video_id,
       video.uri,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       question.kind,
       CASE WHEN nightreel.is_free_text(question.kind) AND video.restricted AND (SELECT nightreel.hides_restricted())
            THEN NULL ELSE verdict.text END AS answer,
       verdict.max_p,
       verdict.flagged,
       verdict.needs_review,
       verdict.first_flagged_s,
       verdict.segments::bigint AS segments,
       verdict.unknown::bigint AS unknown,
       verdict.errors::bigint AS errors,
       verdict.state,
       verdict.reason,
       verdict.covered_s,
       verdict.expected_s,
       CASE WHEN nightreel.is_free_text(question.kind) AND video.restricted AND (SELECT nightreel.hides_restricted())
            THEN NULL ELSE verdict.value END AS value,
       verdict.severity,
       verdict.lane,
       verdict.labels,
       verdict.policy_id,
       verdict.judged_at,
       verdict.prompt_id,
       verdict.missing::bigint AS missing,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id AS console_url,
       CASE WHEN NOT (video.restricted AND (SELECT nightreel.hides_restricted()))
            THEN (SELECT console_url FROM nightreel.site) || '/api/v1/videos/' || video.id || '/thumbnail' END AS thumbnail_url,
       CASE WHEN verdict.whole_answer_id IS NULL THEN 'segment' ELSE 'video' END AS level,
       notes.answer_ids AS made_from,
       CASE WHEN video.restricted AND (SELECT nightreel.hides_restricted()) THEN NULL ELSE whole.sums END AS sums
FROM nightreel.video_verdicts AS verdict
JOIN nightreel.videos AS video ON video.id = verdict.video_id
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
LEFT JOIN nightreel.whole_answers AS whole ON whole.id = verdict.whole_answer_id
LEFT JOIN nightreel.notes AS notes ON notes.id = whole.notes_id
WHERE video.replaced_at IS NULL;
