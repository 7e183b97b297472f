-- The contents on which two recipes disagree about one label: exactly one of them flags a segment. Both have answers to
-- it. At most `sample` items for each direction, in a random order that the seed gives.
WITH given AS (
    SELECT coalesce(video.content_sha256, 'video:' || video.id) AS content,
           bool_or(recipe.id = :first AND CASE WHEN CAST(:tag AS text) = '' THEN one.flagged ELSE one.labels ->> CAST(:tag AS text) = 'yes' END)
               AS first_flags,
           bool_or(recipe.id = :second AND CASE WHEN CAST(:tag AS text) = '' THEN one.flagged ELSE one.labels ->> CAST(:tag AS text) = 'yes' END)
               AS second_flags,
           count(DISTINCT recipe.id) AS recipes
    FROM nightreel.recipes AS recipe
    JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = recipe.id AND asked.prompt_id = :prompt_id
    JOIN nightreel.segments AS segment ON segment.plan_hash = recipe.plan_hash
    JOIN nightreel.videos AS video ON video.id = segment.video_id AND video.replaced_at IS NULL
    JOIN nightreel.answers AS answer
        ON answer.segment_id = segment.id AND answer.question_id = asked.question_id
       AND answer.model_id = recipe.model_id AND NOT answer.superseded
    JOIN nightreel.verdicts AS one ON one.answer_id = answer.id AND one.prompt_id = :prompt_id AND one.due
    WHERE recipe.id IN (:first, :second)
      AND (CAST(:under AS text) IS NULL OR starts_with(video.uri, :under))
    GROUP BY 1
)
SELECT content, found, CAST(NULL AS float8) AS p, 0 AS level, CAST(NULL AS float8) AS low, CAST(NULL AS float8) AS high, size
FROM (
    SELECT content,
           found,
           count(*) OVER stratum AS size,
           row_number() OVER (stratum ORDER BY hashtextextended(content, CAST(:seed AS bigint)), content) AS place
    FROM (
        SELECT content, CASE WHEN first_flags THEN 'only_first' ELSE 'only_second' END AS found
        FROM given
        WHERE recipes = 2 AND coalesce(first_flags, false) <> coalesce(second_flags, false)
    ) AS disagreed
    WINDOW stratum AS (PARTITION BY found)
) AS numbered
WHERE place <= CAST(:sample AS bigint)
ORDER BY found, place
