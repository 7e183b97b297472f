-- What could not be judged, and why?
SELECT uri, prompt, found, reason, ranges
FROM reporting.flags
WHERE found <> 'flagged'
ORDER BY uri, prompt;
