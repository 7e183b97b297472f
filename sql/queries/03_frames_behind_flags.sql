-- Which frames did the model see where it flagged, and how sure was it?
SELECT uri, start_s, prompt, p, frame_times_s, thumbnail_url
FROM reporting.answers
WHERE flagged
ORDER BY uri, start_s, prompt;
