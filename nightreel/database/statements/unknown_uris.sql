-- The keys of a list that no video has, of any version.
SELECT listed.uri
FROM unnest(CAST(:uris AS text[])) AS listed (uri)
WHERE NOT EXISTS (SELECT FROM nightreel.videos AS video WHERE video.uri = listed.uri)
