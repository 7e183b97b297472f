-- How often a reviewer is right about golden items, of which the right decision is known: one row for each reviewer and
-- prompt. `judged` counts confirm and reject; `unsure`: unsure and escalate, which are neither right nor wrong.
CREATE OR REPLACE VIEW reporting.reviewer_accuracy AS
SELECT person.pseudonym AS reviewer,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       count(*) FILTER (WHERE decision.ruling IN ('confirm', 'reject')) AS judged,
       count(*) FILTER (WHERE (decision.ruling = 'confirm' AND label.is_right)
                           OR (decision.ruling = 'reject' AND NOT label.is_right)) AS correct,
       count(*) FILTER (WHERE decision.ruling IN ('unsure', 'escalate')) AS unsure,
       max(decision.decided_at) AS last_at,
       label.prompt_id
FROM nightreel.decisions AS decision
JOIN nightreel.cases AS one ON one.id = decision.case_id
JOIN nightreel.golden_labels AS label
    ON label.golden_id = one.golden_id AND label.prompt_id = decision.prompt_id AND label.tag = decision.tag
JOIN nightreel.users AS person ON person.id = decision.user_id
JOIN nightreel.prompts AS prompt ON prompt.id = label.prompt_id
WHERE decision.undoes IS NULL AND decision.stage = 'first'
  AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = decision.id)
GROUP BY person.pseudonym, prompt.set_name, prompt.name, label.prompt_id;
