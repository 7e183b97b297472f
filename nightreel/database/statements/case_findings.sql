-- The findings of cases with their prompts and the texts of their policies, the worst first.
SELECT finding.case_id,
       finding.prompt_id,
       policy.prompt_set,
       policy.prompt,
       finding.tag,
       finding.category,
       finding.found,
       finding.severity,
       finding.lane,
       finding.reason,
       finding.policy_id,
       policy.definition ->> 'text' AS policy_text,
       finding.video_id,
       finding.evidence
FROM nightreel.findings AS finding
JOIN reporting.policies AS policy ON policy.policy_id = finding.policy_id
WHERE finding.case_id = ANY (CAST(:case_ids AS bigint[]))
ORDER BY finding.severity DESC NULLS LAST, policy.prompt_set, policy.prompt, finding.tag
