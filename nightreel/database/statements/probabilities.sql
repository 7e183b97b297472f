-- How many answers on show of a prompt have a probability in each of :bins ranges of equal width.
SELECT least(CAST(floor(answer.p * :bins) AS integer), :bins - 1) AS bin, count(*) AS answers
FROM nightreel.verdicts AS verdict
JOIN nightreel.answers AS answer ON answer.id = verdict.answer_id
WHERE verdict.prompt_id = :prompt_id AND verdict.shown AND answer.p IS NOT NULL
GROUP BY bin
ORDER BY bin
