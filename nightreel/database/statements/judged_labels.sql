-- What people say of the labels of a prompt that has no tags, with the probability that was on show.
SELECT p, ruling = 'confirm' AS positive
FROM reporting.decisions
WHERE prompt_id = :prompt_id AND stands AND tag IS NULL AND ruling IN ('confirm', 'reject') AND p IS NOT NULL
