-- Chooses the verdicts that are on show, for these videos and prompt sets: for each segment and prompt the one of the
-- recipe that is current for the video's source, else the newest other one, with what differs. Prompts that the current
-- recipe does not ask are not on show. All segments of a video and set are of one sampling plan: that of the current
-- recipe if it has answers, else that of the newest answer. Without a current recipe, the newest answers are on show. A
-- second look at a segment that is still wanted comes before the first one.
WITH verdict AS (
    SELECT verdict.answer_id,
           verdict.prompt_id,
           prompt.set_name,
           segment.video_id,
           segment.id AS segment_id,
           segment.plan_hash,
           answer.answered_at,
           answer.look <> '' AS is_second_look,
           max(answer.answered_at) OVER (
               PARTITION BY segment.id, verdict.prompt_id, answer.question_id, answer.model_id
           ) AS last_answered_at,
           answer.question_id = asked.question_id AS same_question,
           answer.model_id = recipe.model_id AS same_model,
           segment.plan_hash = recipe.plan_hash AS same_plan,
           NOT answer.superseded AND (answer.look = '' OR verdict.due)
               AND (current.recipe_id IS NULL OR asked.prompt_id IS NOT NULL) AS is_asked
    FROM nightreel.segments AS segment
    JOIN nightreel.videos AS video ON video.id = segment.video_id
    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
    JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id
    JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
    LEFT JOIN LATERAL (
        SELECT current.recipe_id
        FROM nightreel.current_recipes AS current
        WHERE current.set_name = prompt.set_name AND starts_with(video.uri, current.source || '/')
        ORDER BY length(current.source) DESC
        LIMIT 1
    ) AS current ON true
    LEFT JOIN nightreel.recipes AS recipe ON recipe.id = current.recipe_id
    LEFT JOIN nightreel.recipe_prompts AS asked
        ON asked.recipe_id = current.recipe_id AND asked.prompt_id = prompt.id
    WHERE segment.video_id = ANY (CAST(:video_ids AS bigint[]))
      AND prompt.set_name = ANY (CAST(:set_names AS text[]))
), planned AS (
    SELECT verdict.*,
           first_value(plan_hash) OVER (
               PARTITION BY video_id, set_name ORDER BY is_asked DESC, same_plan IS TRUE DESC, answered_at DESC, answer_id DESC
           ) AS shown_plan
    FROM verdict
), ranked AS (
    SELECT planned.*,
           row_number() OVER (
               PARTITION BY segment_id, prompt_id
               ORDER BY is_asked DESC, (same_question AND same_model) IS TRUE DESC, last_answered_at DESC,
                        is_second_look DESC, answered_at DESC, answer_id DESC
           ) AS place
    FROM planned
), chosen AS (
    SELECT answer_id,
           prompt_id,
           video_id,
           is_asked AND plan_hash = shown_plan AND place = 1 AS shown,
           nullif(concat_ws(', ', CASE WHEN NOT same_question THEN 'question' END,
                                  CASE WHEN NOT same_model THEN 'model' END,
                                  CASE WHEN NOT same_plan THEN 'plan' END), '') AS outdated
    FROM ranked
)
UPDATE nightreel.verdicts AS verdict
SET shown = chosen.shown, outdated = chosen.outdated
FROM chosen
WHERE verdict.answer_id = chosen.answer_id
  AND verdict.prompt_id = chosen.prompt_id
  AND (verdict.shown, verdict.outdated) IS DISTINCT FROM (chosen.shown, chosen.outdated)
RETURNING chosen.video_id
