-- Current videos in a range of keys that a listing of this range did not hold, in the order of their keys. What came
-- to be known since the sweep began is left out: the listing may be older. The prefix is asked for because the end of
-- the last range, the first key that cannot lie below it, may be the key of another source's video.
SELECT video.uri
FROM nightreel.videos AS video
WHERE video.uri > :after_uri
  AND video.uri <= :up_to_uri
  AND starts_with(video.uri, :uri_prefix)
  AND video.replaced_at IS NULL
  AND video.gone_at IS NULL
  AND video.discovered_at < :began_at
  AND NOT EXISTS (SELECT FROM unnest(CAST(:listed AS text[])) AS listed (uri) WHERE listed.uri = video.uri)
ORDER BY video.uri
LIMIT :most
