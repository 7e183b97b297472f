-- The unfinished videos of a selection: pending ones, and those that other runs hold, for which a run may have to wait.
-- Each count is read from its own index, as in claim.sql.
SELECT pending.pending, pending.next_in_s, claimed.elsewhere, claimed.holders
FROM (
    SELECT count(*) AS pending, extract(epoch FROM min(analysis.not_before) - now())::float8 AS next_in_s
    FROM nightreel.analyses AS analysis
    WHERE analysis.recipe_id = :recipe_id
      AND analysis.status = 'pending'
      AND analysis.uri >= :uri_prefix
      AND analysis.uri < left(:uri_prefix, -1) || chr(ascii(right(:uri_prefix, 1)) + 1)
      AND analysis.uri > coalesce(CAST(:after_uri AS text), '')
      AND (CAST(:up_to_uri AS text) IS NULL OR analysis.uri <= :up_to_uri)
      AND (CAST(:only_uris AS text[]) IS NULL
           OR analysis.uri = ANY (CAST(:only_uris AS text[]))
           OR EXISTS (SELECT FROM unnest(CAST(:only_prefixes AS text[])) AS prefix
                      WHERE starts_with(analysis.uri, prefix)))
      AND EXISTS (SELECT
                  FROM nightreel.videos AS video
                  WHERE video.id = analysis.video_id
                    AND video.replaced_at IS NULL
                    AND video.gone_at IS NULL
                    AND (CAST(:since AS timestamptz) IS NULL OR video.modified_at >= :since)
                    AND (CAST(:until AS timestamptz) IS NULL OR video.modified_at < :until)
                  OFFSET 0)
) AS pending
CROSS JOIN (
    SELECT count(*) AS elsewhere, array_agg(DISTINCT analysis.run_id) AS holders
    FROM nightreel.analyses AS analysis
    WHERE analysis.recipe_id = :recipe_id
      AND analysis.status = 'claimed'
      AND analysis.run_id <> :run_id
      AND starts_with(analysis.uri, :uri_prefix)
      AND analysis.uri > coalesce(CAST(:after_uri AS text), '')
      AND (CAST(:up_to_uri AS text) IS NULL OR analysis.uri <= :up_to_uri)
      AND (CAST(:only_uris AS text[]) IS NULL
           OR analysis.uri = ANY (CAST(:only_uris AS text[]))
           OR EXISTS (SELECT FROM unnest(CAST(:only_prefixes AS text[])) AS prefix
                      WHERE starts_with(analysis.uri, prefix)))
      AND EXISTS (SELECT
                  FROM nightreel.videos AS video
                  WHERE video.id = analysis.video_id
                    AND video.replaced_at IS NULL
                    AND video.gone_at IS NULL
                    AND (CAST(:since AS timestamptz) IS NULL OR video.modified_at >= :since)
                    AND (CAST(:until AS timestamptz) IS NULL OR video.modified_at < :until)
                  OFFSET 0)
) AS claimed
