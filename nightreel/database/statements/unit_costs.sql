-- The costs of a model's newest runs, in total: seconds by stage, and the work done in them. `of_recipe` marks the runs
-- under the same recipe.
WITH run AS (
    SELECT run.recipe_id = :recipe_id AS of_recipe,
           run.counts -> 'work' AS work,
           run.timings,
           coalesce((SELECT sum(value::bigint) FROM jsonb_each_text(run.counts -> 'answers')), 0)
               + coalesce((run.counts #>> '{work,second_look_answers}')::bigint, 0) AS answers
    FROM nightreel.runs AS run
    JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
    WHERE recipe.model_id = :model_id AND run.counts IS NOT NULL AND run.timings IS NOT NULL
    ORDER BY run.id DESC
    LIMIT 1000
), measured AS (
    SELECT of_recipe,
           coalesce((work ->> 'decoded_segments')::bigint, 0) AS decoded,
           coalesce((work ->> 'encoded_segments')::bigint, 0) AS encoded,
           answers,
           coalesce((timings ->> 'fetch')::float8, 0) + coalesce((timings ->> 'probe')::float8, 0)
               + coalesce((timings ->> 'decode')::float8, 0) AS decode_s,
           coalesce((timings ->> 'model.vision')::float8, 0) AS vision_s,
           coalesce((timings ->> 'model.language')::float8, 0) AS language_s,
           (timings ->> 'load_model')::float8 AS load_s
    FROM run
)
SELECT count(*) FILTER (WHERE decoded > 0) AS decode_runs,
       coalesce(sum(decoded) FILTER (WHERE decoded > 0), 0)::bigint AS decoded,
       coalesce(sum(decode_s) FILTER (WHERE decoded > 0), 0) AS decode_s,
       count(*) FILTER (WHERE encoded > 0) AS vision_runs,
       coalesce(sum(encoded) FILTER (WHERE encoded > 0), 0)::bigint AS encoded,
       coalesce(sum(vision_s) FILTER (WHERE encoded > 0), 0) AS vision_s,
       count(*) FILTER (WHERE answers > 0) AS language_runs,
       coalesce(sum(answers), 0)::bigint AS answers,
       coalesce(sum(language_s) FILTER (WHERE answers > 0), 0) AS language_s,
       count(*) FILTER (WHERE answers > 0 AND of_recipe) AS recipe_runs,
       coalesce(sum(answers) FILTER (WHERE of_recipe), 0)::bigint AS recipe_answers,
       coalesce(sum(language_s) FILTER (WHERE answers > 0 AND of_recipe), 0) AS recipe_language_s,
       count(load_s) AS load_runs,
       coalesce(avg(load_s), 0) AS load_s
FROM measured
