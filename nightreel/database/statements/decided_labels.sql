-- What people decided about yes/no prompts, each with a current video below a source. `flag`: the answer that the prompt
-- flagged when they did; a confirmed label has it.
SELECT DISTINCT ON (decision.content, decision.prompt_id)
       decision.id AS decision_id,
       video.uri,
       prompt.name AS prompt,
       decision.ruling,
       policy.definition -> 'flags' ->> 0 AS flag
FROM nightreel.standing_decisions AS decision
JOIN nightreel.decisions AS made ON made.id = decision.id
JOIN nightreel.videos AS video
    ON video.content_sha256 = decision.content AND video.replaced_at IS NULL AND video.gone_at IS NULL
JOIN nightreel.prompts AS prompt ON prompt.id = decision.prompt_id
JOIN nightreel.questions AS question ON question.id = prompt.question_id
JOIN nightreel.policies AS policy ON policy.id = CAST(made.shown ->> 'policy_id' AS bigint)
WHERE decision.ruling IN ('confirm', 'reject')
  AND question.kind = 'yes_no'
  AND starts_with(video.uri, :below)
  AND prompt.name = ANY (CAST(:prompts AS text[]))
ORDER BY decision.content, decision.prompt_id, video.uri
