-- Claims one suspect: a video that a run held when it died. It is the only claim of its run. The suspect that was alone
-- in the fewest dead runs comes first, so that a video that kills its run waits until the others are done. Read from
-- analyses_suspect_idx, in its order; the selection is that of claim.sql.
WITH candidate AS MATERIALIZED (
    SELECT analysis.id, analysis.video_id, analysis.reason IS NOT NULL OR analysis.reopened > 0 AS failed_before
    FROM nightreel.analyses AS analysis
    WHERE analysis.recipe_id = :recipe_id
      AND analysis.status = 'pending'
      AND analysis.suspect
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
    ORDER BY analysis.crashes, analysis.uri
    LIMIT 1
    FOR UPDATE OF analysis SKIP LOCKED
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
FROM candidate
JOIN nightreel.videos AS video ON video.id = candidate.video_id
WHERE analysis.id = candidate.id
RETURNING analysis.id AS analysis_id, analysis.attempts, candidate.failed_before, video.id AS video_id, video.uri,
    video.etag, video.size_bytes
