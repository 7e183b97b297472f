-- What is known of one video, second by second?
SELECT start_s, end_s, prompt, state, answer, p
FROM reporting.timeline
WHERE uri LIKE '%/clip-3.mp4'
ORDER BY start_s, prompt;
