-- The current videos of each case: all copies of its content, or of the golden item that it is about.
CREATE OR REPLACE VIEW nightreel.case_videos AS
SELECT one.id AS case_id, video.id AS video_id, video.uri, video.restricted
FROM nightreel.cases AS one
JOIN nightreel.videos AS video ON video.content_sha256 = one.content AND video.replaced_at IS NULL
UNION ALL
SELECT one.id, video.id, video.uri, video.restricted
FROM nightreel.cases AS one
JOIN nightreel.videos AS video
    ON video.id = CAST(substring(one.content FROM '^video:([0-9]+)$') AS bigint)
   AND video.content_sha256 IS NULL AND video.replaced_at IS NULL
UNION ALL
SELECT one.id, video.id, video.uri, video.restricted
FROM nightreel.cases AS one
JOIN nightreel.golden_items AS golden ON golden.id = one.golden_id
JOIN nightreel.videos AS video ON video.content_sha256 = golden.content AND video.replaced_at IS NULL;
