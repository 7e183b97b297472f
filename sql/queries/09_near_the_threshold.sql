-- Which answers of a prompt are nearest to its threshold?
SELECT uri, start_s, answer, p
FROM reporting.answers
WHERE prompt = 'violence' AND p IS NOT NULL
ORDER BY abs(p - 0.5), uri, start_s
LIMIT 3;
