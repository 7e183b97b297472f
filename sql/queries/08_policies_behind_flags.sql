-- By which policy was each video flagged?
SELECT flag.uri, flag.prompt, policy.since, policy.made_by, policy.definition
FROM reporting.flags AS flag
JOIN reporting.policies AS policy USING (policy_id)
WHERE flag.found = 'flagged'
ORDER BY flag.uri, flag.prompt;
