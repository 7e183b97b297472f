-- The verdicts on show of videos, for their roll-up: with the probabilities of their answers, how much of the video was
-- seen, and how many segments it has (0: not known). Analyses of versions that did not measure coverage had at least nine good
-- frames of ten in each segment.
SELECT segment.video_id,
       verdict.prompt_id,
       verdict.answer_id,
       segment.index AS segment,
       segment.start_s,
       segment.end_s,
       verdict.state,
       verdict.text,
       verdict.value,
       verdict.reason,
       verdict.labels,
       verdict.severity,
       verdict.flagged,
       verdict.needs_review,
       verdict.look_again,
       verdict.start_s AS found_start_s,
       verdict.end_s AS found_end_s,
       verdict.due,
       answer.scores,
       answer.text AS answer_text,
       coalesce(analysis.covered_s, CASE WHEN analysis.status = 'done' THEN video.duration_s END) AS covered_s,
       video.expected_s,
       coalesce(analysis.segments, 0) AS segments
FROM nightreel.segments AS segment
JOIN nightreel.videos AS video ON video.id = segment.video_id
JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id AND verdict.shown
JOIN nightreel.runs AS run ON run.id = answer.run_id
LEFT JOIN nightreel.analyses AS analysis ON analysis.video_id = video.id AND analysis.recipe_id = run.recipe_id
WHERE segment.video_id = ANY (CAST(:video_ids AS bigint[]))
  AND verdict.prompt_id = ANY (CAST(:prompt_ids AS bigint[]))
ORDER BY segment.video_id, segment.start_s
