-- Which videos may only some people see, and why?
SELECT uri, prompt, state, reason
FROM reporting.video_answers
WHERE restricted AND lane = 'restricted' AND (flagged OR state <> 'answered')
ORDER BY uri, prompt;
