-- How often a reviewer is right about golden items, of which the right decision is known: one row for each reviewer and
-- prompt. `judged` counts confirm and reject; `unsure`: unsure and escalate, which are neither right nor wrong. The first
-- decision counts, even if it is undone: else a person could look here and decide again.
CREATE OR REPLACE VIEW reporting.reviewer_accuracy AS
SELECT person.pseudonym AS reviewer,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       count(*) FILTER (WHERE decision.ruling IN ('confirm', 'reject')) AS judged,
       count(*) FILTER (WHERE (decision.ruling = 'confirm' AND decision.is_right)
                           OR (decision.ruling = 'reject' AND NOT decision.is_right)) AS correct,
       count(*) FILTER (WHERE decision.ruling IN ('unsure', 'escalate')) AS unsure,
       max(decision.decided_at) AS last_at,
       decision.prompt_id
FROM (
    SELECT DISTINCT ON (made.case_id, made.prompt_id, made.tag)
           made.user_id, made.prompt_id, made.ruling, made.decided_at, label.is_right
    FROM nightreel.cases AS one
    JOIN nightreel.decisions AS made ON made.case_id = one.id AND made.undoes IS NULL
    JOIN nightreel.golden_labels AS label
        ON label.golden_id = one.golden_id AND label.prompt_id = made.prompt_id AND label.tag = made.tag
    ORDER BY made.case_id, made.prompt_id, made.tag, made.id
) AS decision
JOIN nightreel.users AS person ON person.id = decision.user_id
JOIN nightreel.prompts AS prompt ON prompt.id = decision.prompt_id
GROUP BY person.pseudonym, prompt.set_name, prompt.name, decision.prompt_id;
