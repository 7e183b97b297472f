-- Usage of one cache, according to the index.
SELECT count(*) FILTER (WHERE uri IS NOT NULL) AS features,
       coalesce(sum(size_bytes) FILTER (WHERE uri IS NOT NULL), 0)::bigint AS size_bytes,
       min(last_used_at) FILTER (WHERE uri IS NOT NULL) AS oldest_use,
       count(thumbnail_uri) AS thumbnails,
       count(*) FILTER (WHERE uri IS NULL) AS without_file
FROM nightreel.features
WHERE uri IS NULL OR starts_with(uri, :uri_prefix)
