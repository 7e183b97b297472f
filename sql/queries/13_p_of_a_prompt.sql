-- How are the probabilities of a prompt spread?
SELECT least(width_bucket(p, 0, 1, 10), 10) AS tenth, min(p) AS from_p, max(p) AS to_p, count(*) AS answers
FROM reporting.answers
WHERE prompt = 'violence'
GROUP BY tenth
ORDER BY tenth;
