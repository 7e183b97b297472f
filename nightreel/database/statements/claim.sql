-- Claims pending analyses until the expected segments fill a chunk. The segments of a video with unknown duration are
-- estimated from its size at 2 Mbit/s. Rows that another run is claiming are skipped, not waited for. A pending analysis
-- with a reason failed before. Suspects are claimed one by one (claim_suspect.sql). Videos with small features in the
-- cache fill less of a chunk (domain/chunks.py).
-- The first pending keys of a range are read from analyses_pending_idx, in its order. No other pending analysis of the
-- recipe is read, and no finished one. $order and $among are for claims in another order, with an index of its own: then
-- analyses outside of the range are stepped over. The bounds work in a generic plan too; the second is the first text after all
-- that start with the prefix. OFFSET 0 keeps the planner from starting at the videos, which it does when it expects few
-- matches.
WITH candidate AS MATERIALIZED (
    SELECT analysis.id, analysis.video_id, analysis.reason IS NOT NULL OR analysis.reopened > 0 AS failed_before
    FROM nightreel.analyses AS analysis
    WHERE analysis.recipe_id = :recipe_id
      AND analysis.status = 'pending'
      AND NOT analysis.suspect
      AND $among
      AND analysis.not_before <= now()
      AND analysis.uri >= :uri_prefix
      AND analysis.uri < left(:uri_prefix, -1) || chr(ascii(right(:uri_prefix, 1)) + 1)
      AND analysis.uri > coalesce(CAST(:after_uri AS text), '')
      AND (CAST(:up_to_uri AS text) IS NULL OR analysis.uri <= :up_to_uri)
      AND (CAST(:only_uris AS text[]) IS NULL
           OR analysis.uri = ANY (CAST(:only_uris AS text[]))
           OR EXISTS (SELECT FROM unnest(CAST(:only_prefixes AS text[])) AS prefix
                      WHERE starts_with(analysis.uri, prefix)))
      AND EXISTS (SELECT
                  FROM nightreel.videos AS video
                  WHERE video.id = analysis.video_id
                    AND video.replaced_at IS NULL
                    AND video.gone_at IS NULL
                    AND (CAST(:since AS timestamptz) IS NULL OR video.modified_at >= :since)
                    AND (CAST(:until AS timestamptz) IS NULL OR video.modified_at < :until)
                  OFFSET 0)
    ORDER BY $order
    LIMIT :max_videos
    FOR UPDATE OF analysis SKIP LOCKED
), expected AS (
    SELECT candidate.id,
           candidate.failed_before,
           video.id AS video_id,
           video.uri,
           video.etag,
           video.size_bytes,
           video.modified_at,
           greatest(1, ceil(coalesce(video.duration_s, video.size_bytes / 250000.0) / :window_s))::float8 AS segments,
           EXISTS (SELECT
                   FROM nightreel.features AS feature
                   WHERE feature.content_sha256 = video.content_sha256
                     AND feature.model_id = :model_id
                     AND feature.plan = :plan
                     AND feature.uri IS NOT NULL
                     AND feature.size_bytes <= :small_bytes) AS known
    FROM candidate
    JOIN nightreel.videos AS video ON video.id = candidate.video_id
), sized AS (
    SELECT expected.*, segments * CASE WHEN known THEN :known_share ELSE 1 END AS room FROM expected
), filled AS (
    SELECT analysis.*, sum(room) OVER (ORDER BY $order) - room AS room_before FROM sized AS analysis
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
FROM filled AS video
WHERE analysis.id = video.id AND video.room_before < :chunk_segments
RETURNING analysis.id AS analysis_id, analysis.attempts, video.failed_before, video.video_id, video.uri, video.etag,
    video.size_bytes, video.known
