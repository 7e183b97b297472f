-- Claim pending analyses until a chunk's worth of expected segments is reached. A video of unknown duration counts by
-- its size at 2 Mbit/s. Rows that another run is just claiming are skipped, not waited for.
WITH candidate AS MATERIALIZED (
    SELECT analysis.id,
           greatest(1, ceil(coalesce(video.duration_s, video.size_bytes / 250000.0) / :window_s)) AS expected_segments
    FROM nightreel.analyses AS analysis
    JOIN nightreel.videos AS video ON video.id = analysis.video_id
    WHERE analysis.recipe_id = :recipe_id
      AND analysis.status = 'pending'
      AND analysis.not_before <= now()
      AND video.replaced_at IS NULL
      AND video.gone_at IS NULL
      AND starts_with(video.uri, :uri_prefix)
      AND (CAST(:after_uri AS text) IS NULL OR video.uri > :after_uri)
      AND (CAST(:up_to_uri AS text) IS NULL OR video.uri <= :up_to_uri)
      AND (CAST(:since AS timestamptz) IS NULL OR video.modified_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR video.modified_at < :until)
    ORDER BY analysis.id
    LIMIT :max_videos
    FOR UPDATE OF analysis SKIP LOCKED
), filled AS (
    SELECT id, sum(expected_segments) OVER (ORDER BY id) - expected_segments AS segments_before FROM candidate
)
UPDATE nightreel.analyses AS analysis
SET status = 'claimed',
    run_id = :run_id,
    lease_expires_at = now() + make_interval(secs => :lease_s),
    attempts = attempts + 1,
    content_sha256 = NULL,
    reason = NULL,
    detail = NULL,
    updated_at = now()
FROM nightreel.videos AS video
WHERE video.id = analysis.video_id
  AND analysis.id IN (SELECT id FROM filled WHERE segments_before < :chunk_segments)
RETURNING analysis.id AS analysis_id, analysis.attempts, video.id AS video_id, video.uri, video.etag, video.size_bytes
