-- What of a selection is not finished, and why a run that finds nothing to claim may still have to wait.
SELECT count(*) FILTER (WHERE analysis.status = 'pending') AS pending,
       extract(epoch FROM min(analysis.not_before) FILTER (WHERE analysis.status = 'pending') - now())::float8
           AS next_in_s,
       count(*) FILTER (WHERE analysis.status = 'claimed' AND analysis.run_id <> :run_id) AS elsewhere
FROM nightreel.analyses AS analysis
JOIN nightreel.videos AS video ON video.id = analysis.video_id
WHERE analysis.recipe_id = :recipe_id
  AND analysis.status IN ('pending', 'claimed')
  AND video.replaced_at IS NULL
  AND video.gone_at IS NULL
  AND starts_with(video.uri, :uri_prefix)
  AND (CAST(:after_uri AS text) IS NULL OR video.uri > :after_uri)
  AND (CAST(:up_to_uri AS text) IS NULL OR video.uri <= :up_to_uri)
  AND (CAST(:since AS timestamptz) IS NULL OR video.modified_at >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR video.modified_at < :until)
