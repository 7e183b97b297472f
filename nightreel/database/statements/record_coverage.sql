-- Writes how many seconds of their videos analyses have seen: those of the segments that have answers under the recipe.
WITH seen AS (
    SELECT analysis.id,
           segment.id AS segment_id,
           min(nightreel.seen_s(
               feature.covered_s, segment.end_s - segment.start_s, feature.damaged_frames, cardinality(feature.pts_s)
           )) AS covered_s
    FROM nightreel.analyses AS analysis
    JOIN nightreel.segments AS segment ON segment.video_id = analysis.video_id AND segment.plan_hash = :plan_hash
    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
    JOIN nightreel.features AS feature ON feature.key = answer.feature_key
    WHERE analysis.id = ANY (CAST(:analysis_ids AS bigint[]))
      AND answer.model_id = :model_id
      AND answer.question_id = ANY (CAST(:question_ids AS bigint[]))
      AND answer.look = ''
      AND answer.state <> 'error'
    GROUP BY analysis.id, segment.id
), total AS (
    SELECT analysis.id, analysis.video_id, coalesce(sum(seen.covered_s), 0) AS covered_s
    FROM nightreel.analyses AS analysis
    LEFT JOIN seen ON seen.id = analysis.id
    WHERE analysis.id = ANY (CAST(:analysis_ids AS bigint[]))
    GROUP BY analysis.id, analysis.video_id
)
UPDATE nightreel.analyses AS analysis
SET covered_s = total.covered_s
FROM total
JOIN nightreel.videos AS video ON video.id = total.video_id
WHERE analysis.id = total.id
RETURNING analysis.id AS analysis_id,
          total.covered_s,
          video.expected_s
