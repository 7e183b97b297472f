-- At which seconds was each video flagged?
SELECT uri, prompt, from_to ->> 0 AS from_s, from_to ->> 1 AS to_s
FROM reporting.flags, jsonb_array_elements(ranges) AS from_to
WHERE found = 'flagged'
ORDER BY uri, prompt, (from_to ->> 0)::numeric;
