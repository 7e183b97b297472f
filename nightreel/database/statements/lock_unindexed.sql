-- The given files to which their rows still do not point. Their rows are locked until the files are deleted. Rows that
-- another transaction locks are skipped: it may be publishing the file.
SELECT feature.key, given.uri
FROM unnest(CAST(:keys AS text[]), CAST(:uris AS text[])) AS given (key, uri)
JOIN nightreel.features AS feature ON feature.key = given.key
WHERE feature.uri IS DISTINCT FROM given.uri
  AND feature.thumbnail_uri IS DISTINCT FROM given.uri
ORDER BY feature.key
FOR UPDATE OF feature SKIP LOCKED
