-- The labels that open audits ask people about, though the machine does not show them.
CREATE OR REPLACE VIEW nightreel.sampled_labels AS
SELECT item.content, audit.prompt_id, audit.tag
FROM nightreel.audits AS audit
JOIN nightreel.audit_strata AS stratum ON stratum.audit_id = audit.id
JOIN nightreel.audit_items AS item ON item.audit_id = audit.id AND item.stratum = stratum.number
WHERE audit.ended_at IS NULL AND stratum.found IN ('answered', 'only_first', 'only_second');
