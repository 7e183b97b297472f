-- The next videos with a verdict that a person should see, or about whose content audits ask people.
(
    SELECT DISTINCT verdict.video_id
    FROM nightreel.video_verdicts AS verdict
    WHERE verdict.video_id > :after AND verdict.needs_review
    ORDER BY verdict.video_id
    LIMIT :limit
)
UNION
(
    SELECT DISTINCT video.id
    FROM nightreel.sampled_labels AS sampled
    JOIN nightreel.videos AS video
        ON video.content_sha256 = sampled.content
        OR (video.content_sha256 IS NULL
            AND video.id = CAST(substring(sampled.content FROM '^video:([0-9]+)$') AS bigint))
    WHERE video.id > :after
    ORDER BY video.id
    LIMIT :limit
)
ORDER BY 1
LIMIT :limit
