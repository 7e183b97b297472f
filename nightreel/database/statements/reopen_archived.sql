-- Puts videos back to pending that failed because their object was in an archive.
UPDATE nightreel.analyses AS analysis
SET status = 'pending', attempts = 0, not_before = now(), run_id = NULL, reason = NULL, detail = NULL, updated_at = now()
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[])) AS listed (uri, etag)
JOIN nightreel.videos AS video ON video.uri = listed.uri AND video.etag = listed.etag
WHERE analysis.video_id = video.id
  AND analysis.recipe_id = :recipe_id
  AND analysis.status = 'failed'
  AND analysis.reason = 'archived'
