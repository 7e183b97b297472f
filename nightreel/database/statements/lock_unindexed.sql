-- Of files that the index did not know a moment ago, those that it still does not know, their rows locked until the
-- files are deleted. A row that somebody holds is somebody's who may just be publishing: left out.
SELECT feature.key, given.uri
FROM unnest(CAST(:keys AS text[]), CAST(:uris AS text[])) AS given (key, uri)
JOIN nightreel.features AS feature ON feature.key = given.key
WHERE feature.uri IS DISTINCT FROM given.uri
  AND feature.thumbnail_uri IS DISTINCT FROM given.uri
ORDER BY feature.key
FOR UPDATE OF feature SKIP LOCKED
