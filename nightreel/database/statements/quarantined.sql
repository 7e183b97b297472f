-- The quarantined videos of a selection under a recipe, and those among them that killed runs. `is_new`: since a time.
-- Read from analyses_failed_idx.
SELECT analysis.uri,
       analysis.crashes,
       analysis.reason = 'attempts_exhausted' AS killed_runs,
       analysis.reason = 'attempts_exhausted'
           AND analysis.updated_at > coalesce(CAST(:since AS timestamptz), '-infinity') AS is_new
FROM nightreel.analyses AS analysis
JOIN nightreel.videos AS video ON video.id = analysis.video_id
WHERE analysis.status = 'quarantined'
  AND analysis.recipe_id = :recipe_id
  AND starts_with(analysis.uri, :uri_prefix)
  AND analysis.uri > coalesce(CAST(:after_uri AS text), '')
  AND (CAST(:up_to_uri AS text) IS NULL OR analysis.uri <= :up_to_uri)
  AND video.replaced_at IS NULL
  AND video.gone_at IS NULL
ORDER BY is_new DESC, killed_runs DESC, analysis.uri
LIMIT :most
