-- The policies of prompts, one row for each time that one came into force. The newest of a prompt is in force.
-- `applied_at`: when all stored answers were judged by it.
CREATE OR REPLACE VIEW reporting.policies AS
SELECT policy.id AS policy_id,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       policy.id = prompt.policy_id AS in_force,
       policy.since,
       policy.made_by,
       policy.origin,
       policy.definition,
       policy.hash,
       policy.applied_at,
       prompt.id AS prompt_id
FROM nightreel.policies AS policy
JOIN nightreel.prompts AS prompt ON prompt.id = policy.prompt_id;
