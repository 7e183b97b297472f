-- Which videos was a prompt never asked of?
SELECT uri, prompt, discovered_at
FROM reporting.not_asked
WHERE prompt = 'violence'
ORDER BY uri;
