-- Recipes: model, sampling plan and prompts. `current_for`: the sources and prompt sets whose answers on show are theirs.
CREATE OR REPLACE VIEW reporting.recipes AS
SELECT recipe.id AS recipe_id,
       model.name AS model,
       model.revision AS model_revision,
       model.spec ->> 'dtype' AS dtype,
       recipe.plan,
       recipe.window_s,
       (SELECT jsonb_agg(jsonb_build_object('set', prompt.set_name, 'prompt', prompt.name, 'question', question.text)
                         ORDER BY asked.place)
        FROM nightreel.recipe_prompts AS asked
        JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id
        JOIN nightreel.questions AS question ON question.id = asked.question_id
        WHERE asked.recipe_id = recipe.id) AS prompts,
       (SELECT jsonb_agg(jsonb_build_object('source', current.source, 'set', current.set_name, 'since', current.since,
                                            'made_by', current.made_by) ORDER BY current.source, current.set_name)
        FROM nightreel.current_recipes AS current
        WHERE current.recipe_id = recipe.id) AS current_for,
       recipe.created_at
FROM nightreel.recipes AS recipe
JOIN nightreel.models AS model ON model.id = recipe.model_id;

-- The answers that differ between two recipes: by prompt set and name, video, and time.
CREATE OR REPLACE FUNCTION reporting.changes(recipe_a bigint, recipe_b bigint)
RETURNS TABLE (uri text, start_s float8, end_s float8, prompt_set text, prompt text,
               state_a text, answer_a text, p_a float8, state_b text, answer_b text, p_b float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH given AS (
        SELECT DISTINCT ON (recipe.id, answer.video_id, answer.segment, answer.prompt_id)
               recipe.id AS recipe_id, answer.*
        FROM nightreel.recipes AS recipe
        JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = recipe.id
        JOIN nightreel.all_answers AS answer
            ON answer.question_id = asked.question_id
           AND answer.prompt_id = asked.prompt_id
           AND answer.model_id = recipe.model_id
        JOIN nightreel.segments AS segment
            ON segment.video_id = answer.video_id
           AND segment.index = answer.segment
           AND segment.start_s = answer.start_s
           AND segment.end_s = answer.end_s
           AND segment.plan_hash = recipe.plan_hash
        WHERE recipe.id IN (recipe_a, recipe_b) AND NOT answer.superseded AND answer.replaced_at IS NULL
          AND (answer.look = '' OR answer.due)
        ORDER BY recipe.id, answer.video_id, answer.segment, answer.prompt_id, answer.look <> '' DESC
    )
    SELECT one.uri, one.start_s, one.end_s, one.prompt_set, one.prompt,
           one.state, CASE WHEN one.hidden AND nightreel.is_free_text(one.kind) THEN NULL ELSE one.answer END, one.p,
           other.state, CASE WHEN one.hidden AND nightreel.is_free_text(one.kind) THEN NULL ELSE other.answer END, other.p
    FROM given AS one
    JOIN given AS other
        ON other.recipe_id = recipe_b
       AND other.video_id = one.video_id
       AND other.prompt_id = one.prompt_id
       AND other.start_s = one.start_s
       AND other.end_s = one.end_s
    WHERE one.recipe_id = recipe_a
      AND (one.state, one.answer) IS DISTINCT FROM (other.state, other.answer)
    ORDER BY one.uri, one.start_s, one.prompt_set, one.prompt
$$;
