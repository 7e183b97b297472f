-- Of the first answers that a model gave to these questions: how many there are, and how many reach the p from which a
-- segment is looked at again. Both arrays have one entry for each prompt with a second look, in the same order.
SELECT wanted.place,
       count(answer.id) AS answers,
       count(answer.id) FILTER (WHERE answer.p >= wanted.from_p) AS hits
FROM unnest(CAST(:question_ids AS bigint[]), CAST(:from_ps AS float8[]))
    WITH ORDINALITY AS wanted (question_id, from_p, place)
LEFT JOIN nightreel.answers AS answer
    ON answer.question_id = wanted.question_id
   AND answer.model_id = :model_id
   AND answer.look = ''
   AND NOT answer.superseded
   AND answer.p IS NOT NULL
GROUP BY wanted.place
ORDER BY wanted.place
