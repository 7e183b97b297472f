-- Current videos in a range of keys that a listing of this range did not hold, in the order of their keys. What came
-- to be known since the sweep began is left out: the listing may be older. The prefix is asked for because the end of
-- the last range, the first key that cannot lie below it, may be the key of another source's video. NOT IN is a hash
-- whatever the planner expects; it expects some ten rows, and would compare each of a thousand with each of a thousand.
SELECT video.uri
FROM nightreel.videos AS video
WHERE video.uri > :after_uri
  AND video.uri <= :up_to_uri
  AND starts_with(video.uri, :uri_prefix)
  AND video.replaced_at IS NULL
  AND video.gone_at IS NULL
  AND video.discovered_at < :began_at
  AND video.uri NOT IN (SELECT unnest(CAST(:listed AS text[])))
ORDER BY video.uri
LIMIT :most
