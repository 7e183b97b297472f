-- Adds the work: one analysis of every listed video under the recipe.
INSERT INTO nightreel.analyses (video_id, recipe_id, uri, modified_at)
SELECT video.id, :recipe_id, video.uri, video.modified_at
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[])) AS listed (uri, etag)
JOIN nightreel.videos AS video ON video.uri = listed.uri AND video.etag = listed.etag
ORDER BY listed.uri
ON CONFLICT (video_id, recipe_id) DO NOTHING
