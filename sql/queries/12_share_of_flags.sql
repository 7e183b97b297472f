-- Which share of the judged videos does each prompt flag?
SELECT prompt, count(*) FILTER (WHERE flagged) AS flagged, count(*) AS videos,
       round(avg(flagged::integer), 3) AS share
FROM reporting.video_answers
GROUP BY prompt
ORDER BY share DESC, prompt;
