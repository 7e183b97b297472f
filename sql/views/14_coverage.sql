-- Which recipe is current for each video and prompt set: of sources within each other, the inner one counts.
CREATE OR REPLACE VIEW nightreel.current_for_videos AS
SELECT video.id AS video_id,
       video.uri,
       video.discovered_at,
       video.restricted,
       asked.set_name AS prompt_set,
       current.recipe_id
FROM nightreel.videos AS video
CROSS JOIN (SELECT DISTINCT set_name FROM nightreel.current_recipes) AS asked
CROSS JOIN LATERAL (
    SELECT recipe_id
    FROM nightreel.current_recipes
    WHERE current_recipes.set_name = asked.set_name AND starts_with(video.uri, current_recipes.source || '/')
    ORDER BY length(current_recipes.source) DESC
    LIMIT 1
) AS current
WHERE video.replaced_at IS NULL AND video.gone_at IS NULL;

-- What was asked of how many videos and what not, by the day on which they were found, and by the folder of their keys. A
-- follow-up whose condition does not hold counts as not asked.
CREATE OR REPLACE VIEW reporting.coverage AS
WITH found AS MATERIALIZED (
    SELECT video_id, discovered_at::date AS day, regexp_replace(uri, '[^/]*$', '') AS prefix, prompt_set, recipe_id
    FROM nightreel.current_for_videos
), folder AS (
    SELECT day, prefix, prompt_set, recipe_id, count(*) AS videos FROM found GROUP BY day, prefix, prompt_set, recipe_id
), known AS (
    SELECT found.day,
           found.prefix,
           found.recipe_id,
           verdict.prompt_id,
           count(*) FILTER (WHERE verdict.state = 'answered') AS answered,
           count(*) FILTER (WHERE verdict.state = 'unknown') AS unknown,
           count(*) FILTER (WHERE verdict.state = 'error') AS errors
    FROM found
    JOIN nightreel.video_verdicts AS verdict ON verdict.video_id = found.video_id
    JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id AND prompt.set_name = found.prompt_set
    GROUP BY found.day, found.prefix, found.recipe_id, verdict.prompt_id
)
SELECT folder.day,
       folder.prefix,
       folder.prompt_set,
       prompt.name AS prompt,
       folder.videos,
       coalesce(known.answered, 0) AS answered,
       coalesce(known.unknown, 0) AS unknown,
       coalesce(known.errors, 0) AS errors,
       folder.videos - coalesce(known.answered + known.unknown + known.errors, 0) AS not_asked
FROM folder
JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = folder.recipe_id
JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id AND prompt.set_name = folder.prompt_set
LEFT JOIN known
    ON known.day = folder.day
   AND known.prefix = folder.prefix
   AND known.recipe_id = folder.recipe_id
   AND known.prompt_id = prompt.id;

-- The videos that a prompt was never asked of, or has no verdict for yet.
CREATE OR REPLACE VIEW reporting.not_asked AS
SELECT current.video_id, current.uri, current.discovered_at, current.prompt_set, prompt.name AS prompt, current.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || current.video_id AS console_url
FROM nightreel.current_for_videos AS current
JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = current.recipe_id
JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id AND prompt.set_name = current.prompt_set
WHERE NOT EXISTS (
    SELECT FROM nightreel.video_verdicts AS verdict
    WHERE verdict.video_id = current.video_id AND verdict.prompt_id = prompt.id
);
