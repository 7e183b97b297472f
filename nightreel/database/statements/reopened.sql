-- Videos that were put back to pending and may be tried now, by recipe and by the source in which the video was found.
-- Some may be left from an earlier retry whose run broke: no other run takes them if nights no longer use their recipe.
SELECT work.recipe_id, run.source, count(*) AS videos
FROM (
    SELECT analysis.recipe_id, video.run_id
    FROM nightreel.analyses AS analysis
    JOIN nightreel.videos AS video ON video.id = analysis.video_id
    WHERE analysis.status = 'pending'
      AND analysis.reopened > 0
      AND analysis.recipe_id = ANY (CAST(:recipe_ids AS bigint[]))
      AND analysis.not_before <= now()
      AND video.replaced_at IS NULL
      AND video.gone_at IS NULL
    LIMIT :most
) AS work
JOIN nightreel.runs AS run ON run.id = work.run_id
GROUP BY work.recipe_id, run.source
ORDER BY work.recipe_id, run.source
