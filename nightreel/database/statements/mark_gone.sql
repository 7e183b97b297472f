-- Marks videos gone whose object a sweep did not find.
UPDATE nightreel.videos AS video
SET gone_at = now()
FROM unnest(CAST(:uris AS text[])) AS missing (uri)
WHERE video.uri = missing.uri
  AND video.replaced_at IS NULL
  AND video.gone_at IS NULL
  AND video.discovered_at < :began_at
