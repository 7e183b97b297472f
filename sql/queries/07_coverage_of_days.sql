-- What was asked of the videos of each day, and what not?
SELECT day, prompt, sum(videos) AS videos, sum(answered) AS answered, sum(unknown) AS unknown, sum(errors) AS errors,
       sum(not_asked) AS not_asked
FROM reporting.coverage
GROUP BY day, prompt
ORDER BY day DESC, prompt;
