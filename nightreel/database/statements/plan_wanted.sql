-- The listed videos, one row for each, with their state under a recipe. A video of unknown duration counts by its size.
-- Segments are counted as `media.sampling.segments` cuts them. A copy has the bytes of another video that is done or
-- comes before it. Before a video is fetched, its ETag identifies its bytes, if it is a hash of the content.
CREATE TEMPORARY TABLE plan_wanted ON COMMIT DROP AS
WITH feature AS MATERIALIZED (
    SELECT content_sha256, count(*) AS segments
    FROM nightreel.features
    WHERE uri IS NOT NULL AND model_id = :model_id AND plan = :plan AND content_sha256 IS NOT NULL
    GROUP BY content_sha256
), known AS (
    SELECT listed.uri,
           listed.size_bytes,
           listed.etag,
           video.id AS video_id,
           video.content_sha256,
           coalesce(analysis.status, 'none') AS status,
           coalesce(video.duration_s, listed.size_bytes / CAST(:bytes_per_s AS float8)) AS duration_s,
           video.duration_s IS NULL AS guessed
    FROM plan_listed AS listed
    LEFT JOIN nightreel.videos AS video ON video.uri = listed.uri AND video.etag = listed.etag
    LEFT JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id AND analysis.recipe_id = :recipe_id
), numbered AS (
    SELECT known.*,
           row_number() OVER (PARTITION BY etag, size_bytes ORDER BY status <> 'done', uri) AS of_etag,
           row_number() OVER (PARTITION BY content_sha256 ORDER BY status <> 'done', uri) AS of_content
    FROM known
), counted AS (
    SELECT numbered.*,
           greatest(1, floor(duration_s / :window_s)
                       + CASE WHEN duration_s - floor(duration_s / :window_s) * :window_s >= :window_s / 3
                              THEN 1 ELSE 0 END)::bigint AS segments,
           (of_etag > 1 AND etag ~ '^[0-9a-f]{32}(-[0-9]+)?$')
           OR (content_sha256 IS NOT NULL
               AND (of_content > 1
                    OR EXISTS (SELECT
                               FROM nightreel.videos AS twin
                               JOIN nightreel.analyses AS analysis
                                   ON analysis.video_id = twin.id AND analysis.recipe_id = :recipe_id
                               WHERE twin.content_sha256 = numbered.content_sha256
                                 AND twin.id <> numbered.video_id
                                 AND analysis.status IN ('done', 'partly_done')))) AS copy
    FROM numbered
)
SELECT counted.uri,
       counted.size_bytes,
       counted.status,
       counted.guessed,
       counted.copy,
       counted.content_sha256 IS NOT NULL AS fetched,
       counted.segments,
       least(counted.segments, coalesce(feature.segments, 0)) AS cached,
       coalesce((SELECT count(*)
                 FROM nightreel.segments AS segment
                 JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
                 WHERE segment.video_id = counted.video_id
                   AND segment.plan_hash = :plan_hash
                   AND answer.model_id = :model_id
                   AND answer.question_id = ANY (CAST(:question_ids AS bigint[]))
                   AND answer.look = ''
                   AND NOT answer.superseded
                   AND answer.state <> 'error'), 0) AS answered
FROM counted
LEFT JOIN feature ON feature.content_sha256 = counted.content_sha256
