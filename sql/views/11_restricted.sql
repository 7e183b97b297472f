-- Videos that only people with the scope `restricted` may see: any verdict in the lane `restricted` that is not a "no". An
-- unknown and a failed one count.
CREATE OR REPLACE FUNCTION nightreel.is_no(kind text, state text, value jsonb, flagged boolean)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT state = 'answered' AND coalesce(CASE kind
        WHEN 'yes_no' THEN value = 'false'
        WHEN 'tags' THEN value = '[]'
        WHEN 'choice' THEN NOT flagged
        WHEN 'number' THEN NOT flagged
    END, false)
$$;

CREATE OR REPLACE VIEW nightreel.restricted_videos AS
SELECT verdict.video_id
FROM nightreel.video_verdicts AS verdict
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
WHERE verdict.lane = 'restricted'
  AND NOT nightreel.is_no(question.kind, verdict.state, verdict.value, verdict.flagged)
UNION
SELECT segment.video_id
FROM nightreel.verdicts AS verdict
JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
JOIN nightreel.answers AS answer ON answer.id = verdict.answer_id
JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
WHERE verdict.lane = 'restricted' AND verdict.shown
  AND NOT nightreel.is_no(question.kind, verdict.state, verdict.value, verdict.flagged);
