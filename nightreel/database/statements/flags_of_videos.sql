-- What people should know of each of these videos at a glance: its flags, and what could not be judged, the worst first.
SELECT video_id, prompt_set, prompt, found, severity, decision, restricted
FROM reporting.flags
WHERE video_id = ANY(:video_ids)
ORDER BY video_id, found <> 'flagged', severity DESC NULLS LAST, prompt_set, prompt
