-- Sizes of the newest videos with their durations, and the average size of a segment's features.
SELECT coalesce(video.bytes, 0)::float8 AS video_bytes,
       coalesce(video.seconds, 0)::float8 AS video_s,
       video.videos,
       coalesce(feature.bytes, 0)::float8 AS feature_bytes,
       feature.features
FROM (
    SELECT sum(size_bytes) AS bytes, sum(duration_s) AS seconds, count(*) AS videos
    FROM (SELECT size_bytes, duration_s FROM nightreel.videos ORDER BY id DESC LIMIT 100000) AS newest
    WHERE duration_s > 0
) AS video
CROSS JOIN (
    SELECT avg(size_bytes) AS bytes, count(*) AS features
    FROM (
        SELECT size_bytes
        FROM nightreel.features
        WHERE model_id = :model_id AND plan = :plan
        LIMIT 10000
    ) AS features_of_plan
) AS feature
