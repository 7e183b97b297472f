-- What was flagged since yesterday, the worst first?
SELECT uri, prompt, severity, worst_p, first_s
FROM reporting.flags
WHERE found = 'flagged' AND judged_at > now() - interval '1 day'
ORDER BY severity DESC NULLS LAST, worst_p DESC, uri;
