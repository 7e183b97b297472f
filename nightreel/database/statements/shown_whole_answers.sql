-- The answers about whole videos that are on show, for these videos and prompts: of the model and plan of the recipe that
-- is current for the video's source, else the newest. Only answers to the question that a prompt asks now are.
SELECT DISTINCT ON (whole.video_id, prompt.id)
       whole.id AS answer_id,
       whole.video_id,
       prompt.id AS prompt_id,
       question.hash AS question_hash,
       whole.state,
       whole.text,
       whole.scores,
       whole.mass,
       whole.bounds,
       whole.reason,
       whole.prompt_tokens,
       whole.generated_tokens,
       whole.covered_s,
       whole.expected_s,
       (SELECT count(*)
        FROM nightreel.segments AS segment
        WHERE segment.video_id = whole.video_id AND segment.plan_hash = whole.plan_hash) AS segments
FROM nightreel.prompts AS prompt
JOIN nightreel.questions AS question ON question.id = prompt.question_id
JOIN nightreel.whole_answers AS whole ON whole.question_id = prompt.question_id AND NOT whole.superseded
JOIN nightreel.videos AS video ON video.id = whole.video_id
LEFT JOIN LATERAL (
    SELECT current.recipe_id
    FROM nightreel.current_recipes AS current
    WHERE current.set_name = prompt.set_name AND starts_with(video.uri, current.source || '/')
    ORDER BY length(current.source) DESC
    LIMIT 1
) AS current ON true
LEFT JOIN nightreel.recipes AS recipe ON recipe.id = current.recipe_id
LEFT JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = current.recipe_id AND asked.prompt_id = prompt.id
WHERE whole.video_id = ANY (CAST(:video_ids AS bigint[]))
  AND prompt.id = ANY (CAST(:prompt_ids AS bigint[]))
  AND (current.recipe_id IS NULL OR asked.prompt_id IS NOT NULL)
ORDER BY whole.video_id, prompt.id,
         (whole.model_id = recipe.model_id AND whole.plan_hash = recipe.plan_hash) IS TRUE DESC,
         whole.answered_at DESC, whole.id DESC
