-- In which videos do the segments disagree about a prompt?
SELECT uri, prompt, count(*) FILTER (WHERE flagged) AS flagged, count(*) AS segments
FROM reporting.timeline
GROUP BY video_id, uri, prompt
HAVING count(*) FILTER (WHERE flagged) BETWEEN 1 AND count(*) - 1
ORDER BY uri, prompt;
