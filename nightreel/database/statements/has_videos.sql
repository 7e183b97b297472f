-- Whether a prefix has current videos. Keys are in byte order, so those with the prefix are adjacent.
SELECT EXISTS (
    SELECT
    FROM nightreel.videos AS video
    WHERE video.uri > :uri_prefix
      AND starts_with(video.uri, :uri_prefix)
      AND video.replaced_at IS NULL
      AND video.gone_at IS NULL
)
