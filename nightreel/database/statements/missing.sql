-- Current videos in a range of keys that a listing of this range did not contain, in the order of their keys. Videos
-- discovered since the sweep started are left out: the listing may be older. The prefix is checked because the end of
-- the last range, the first key that cannot have the prefix, may be the key of another source's video. NOT IN always
-- uses a hash. With another form, the planner, which expects some ten rows, would compare each of a thousand with each
-- of a thousand.
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
