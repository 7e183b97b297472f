-- What the machine says of one label, for each content with a verdict: all that it shows, and of what it calls "no" the
-- first `sample` items of each stratum, in a random order that the seed gives. Copies are one item; the worst verdict of
-- them counts. `answer`: whose probability is read. `levels`: 0 to the number of bounds, by the rank of p.
WITH said AS MATERIALIZED (
    SELECT coalesce(video.content_sha256, 'video:' || video.id) AS content,
           CASE WHEN verdict.state <> 'answered' AND (CAST(:tag AS text) = '' OR verdict.labels IS NULL) THEN verdict.state
                WHEN CAST(:tag AS text) = '' AND verdict.flagged THEN 'flagged'
                WHEN CAST(:tag AS text) <> '' AND verdict.labels ->> CAST(:tag AS text) = 'yes' THEN 'flagged'
                WHEN CAST(:tag AS text) <> '' AND verdict.labels ->> CAST(:tag AS text) = 'unknown' THEN 'unknown'
                WHEN verdict.state = 'error' THEN 'error'
                ELSE 'answered' END AS found,
           (SELECT max(CAST(answer.scores ->> CAST(:answer AS text) AS float8))
            FROM nightreel.segments AS segment
            JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
            JOIN nightreel.verdicts AS one ON one.answer_id = answer.id AND one.prompt_id = verdict.prompt_id
            WHERE segment.video_id = verdict.video_id AND one.shown) AS p
    FROM nightreel.video_verdicts AS verdict
    JOIN nightreel.videos AS video ON video.id = verdict.video_id AND video.replaced_at IS NULL
    WHERE verdict.prompt_id = :prompt_id
      AND (CAST(:under AS text) IS NULL OR starts_with(video.uri, :under))
), item AS (
    SELECT content,
           (array_agg(found ORDER BY array_position(ARRAY['flagged', 'unknown', 'error', 'answered'], found)))[1] AS found,
           max(p) AS p
    FROM said
    GROUP BY content
), ranked AS (
    SELECT item.*, percent_rank() OVER (PARTITION BY found, p IS NULL ORDER BY p) AS rank
    FROM item
), levelled AS (
    SELECT ranked.*,
           CASE WHEN found = 'answered' AND p IS NOT NULL
                THEN (SELECT count(*) FROM unnest(CAST(:bounds AS float8[])) AS bound WHERE rank >= bound)
                ELSE 0 END AS level
    FROM ranked
)
SELECT content, found, p, level, low, high, size
FROM (
    SELECT levelled.*,
           min(p) OVER stratum AS low,
           max(p) OVER stratum AS high,
           count(*) OVER stratum AS size,
           row_number() OVER (stratum ORDER BY hashtextextended(content, CAST(:seed AS bigint)), content) AS place
    FROM levelled
    WINDOW stratum AS (PARTITION BY found, p IS NULL, level)
) AS numbered
WHERE found <> 'answered' OR place <= CAST(:sample AS bigint)
ORDER BY found, p IS NULL, level, place
