-- The golden items that a person has not had yet, each with its labels as the policies in force see them, in an order of
-- the person's own.
SELECT golden.id AS golden_id,
       label.prompt_id,
       label.tag,
       policy.prompt_set,
       policy.prompt,
       policy.definition AS policy,
       policy.policy_id,
       video.id AS video_id
FROM nightreel.golden_items AS golden
JOIN LATERAL (
    SELECT min(video_id) AS id, bool_or(copy.restricted) AS restricted
    FROM reporting.videos AS copy
    WHERE copy.content_sha256 = golden.content AND copy.gone_at IS NULL
) AS video ON video.id IS NOT NULL AND (:sees_restricted OR NOT video.restricted)
JOIN nightreel.golden_labels AS label ON label.golden_id = golden.id
JOIN reporting.policies AS policy ON policy.prompt_id = label.prompt_id AND policy.in_force
WHERE golden.removed_at IS NULL
  AND NOT EXISTS (
      SELECT FROM nightreel.cases AS had WHERE had.golden_id = golden.id AND had.golden_for = :user_id
  )
ORDER BY hashint8extended(golden.id, CAST(:user_id AS bigint)), golden.id, label.prompt_id, label.tag
LIMIT 200
