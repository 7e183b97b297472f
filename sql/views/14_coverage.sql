-- What is asked of each video now: the prompts of the recipe that is current for its source and set, and what is known. Of
-- sources within each other, the inner one counts.
CREATE OR REPLACE VIEW nightreel.asked_now AS
SELECT video.id AS video_id,
       video.uri,
       video.discovered_at,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       prompt.id AS prompt_id,
       verdict.state
FROM nightreel.current_recipes AS current
JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = current.recipe_id
JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id AND prompt.set_name = current.set_name
JOIN nightreel.videos AS video
    ON starts_with(video.uri, current.source || '/') AND video.replaced_at IS NULL AND video.gone_at IS NULL
LEFT JOIN nightreel.video_verdicts AS verdict ON verdict.video_id = video.id AND verdict.prompt_id = prompt.id
WHERE NOT EXISTS (
    SELECT FROM nightreel.current_recipes AS inner_one
    WHERE inner_one.set_name = current.set_name AND length(inner_one.source) > length(current.source)
      AND starts_with(video.uri, inner_one.source || '/')
);

-- What was asked of how many videos and what not, by the day on which they were found, and by the folder of their keys. A
-- follow-up whose condition does not hold counts as not asked.
CREATE OR REPLACE VIEW reporting.coverage AS
SELECT discovered_at::date AS day,
       regexp_replace(uri, '[^/]*$', '') AS prefix,
       prompt_set,
       prompt,
       count(*) AS videos,
       count(*) FILTER (WHERE state = 'answered') AS answered,
       count(*) FILTER (WHERE state = 'unknown') AS unknown,
       count(*) FILTER (WHERE state = 'error') AS errors,
       count(*) FILTER (WHERE state IS NULL) AS not_asked
FROM nightreel.asked_now
GROUP BY 1, 2, 3, 4;

-- The videos that a prompt was never asked of, or has no verdict for yet.
CREATE OR REPLACE VIEW reporting.not_asked AS
SELECT video_id, uri, discovered_at, prompt_set, prompt,
       EXISTS (SELECT FROM nightreel.restricted_videos AS one WHERE one.video_id = asked_now.video_id) AS restricted
FROM nightreel.asked_now
WHERE state IS NULL;
