-- What people decided of the items that audits drew. An item without a decision that stands, or of which people are
-- unsure, is left out: nobody can see what waits.
CREATE OR REPLACE VIEW reporting.audit_decisions AS
SELECT audit.id AS audit_id,
       audit.kind AS audit_kind,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       nullif(audit.tag, '') AS tag,
       stratum.number AS stratum,
       stratum.found,
       item.p,
       decision.ruling,
       decision.decided_at,
       decision.id AS decision_id,
       decision.case_id,
       item.content AS content_sha256,
       EXISTS (SELECT FROM nightreel.case_videos AS video WHERE video.case_id = decision.case_id AND video.restricted)
           AS restricted,
       audit.prompt_id
FROM nightreel.audits AS audit
JOIN nightreel.prompts AS prompt ON prompt.id = audit.prompt_id
JOIN nightreel.audit_strata AS stratum ON stratum.audit_id = audit.id
JOIN nightreel.audit_items AS item ON item.audit_id = audit.id AND item.stratum = stratum.number
JOIN nightreel.standing_decisions AS decision
    ON decision.content = item.content AND decision.prompt_id = audit.prompt_id AND decision.tag = audit.tag
WHERE decision.ruling IN ('confirm', 'reject');

-- Audits: a random sample of what the machine says of one label, and what people decided of it. `strata`: a JSON list,
-- in which `size` counts all items of a stratum, `drawn` those of the sample, `judged` those with a decision, and
-- `confirmed` those of which people say that the label is right.
CREATE OR REPLACE VIEW reporting.audits AS
SELECT audit.id AS audit_id,
       audit.kind AS audit_kind,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       nullif(audit.tag, '') AS tag,
       audit.policy_id,
       prompt.policy_id = audit.policy_id AS is_of_policy_in_force,
       audit.first_recipe_id,
       audit.second_recipe_id,
       audit.made_by,
       audit.drawn_at,
       audit.ended_at,
       counted.size,
       counted.drawn,
       counted.judged,
       counted.strata,
       audit.prompt_id
FROM nightreel.audits AS audit
JOIN nightreel.prompts AS prompt ON prompt.id = audit.prompt_id
JOIN (
    SELECT stratum.audit_id,
           sum(stratum.size)::bigint AS size,
           sum(part.drawn)::bigint AS drawn,
           sum(part.judged)::bigint AS judged,
           jsonb_agg(jsonb_build_object('found', stratum.found, 'low', stratum.low, 'high', stratum.high,
                                        'size', stratum.size, 'drawn', part.drawn, 'judged', part.judged,
                                        'confirmed', part.confirmed)
                     ORDER BY stratum.number) AS strata
    FROM nightreel.audit_strata AS stratum
    JOIN (
        SELECT item.audit_id,
               item.stratum,
               count(*) AS drawn,
               count(decision.id) AS judged,
               count(decision.id) FILTER (WHERE decision.ruling = 'confirm') AS confirmed
        FROM nightreel.audit_items AS item
        JOIN nightreel.audits AS of_item ON of_item.id = item.audit_id
        LEFT JOIN nightreel.standing_decisions AS decision
            ON decision.content = item.content AND decision.prompt_id = of_item.prompt_id
           AND decision.tag = of_item.tag AND decision.ruling IN ('confirm', 'reject')
        GROUP BY item.audit_id, item.stratum
    ) AS part ON part.audit_id = stratum.audit_id AND part.stratum = stratum.number
    GROUP BY stratum.audit_id
) AS counted ON counted.audit_id = audit.id;
