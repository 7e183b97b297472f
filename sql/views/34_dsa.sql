-- Statements of reasons in the form of the EU's DSA Transparency Database: one row for each label that people confirmed, and
-- whose decision stands. The names of columns and values are those of its API (docs/decisions/review.md has the source).
-- What only the platform knows is null: what it did (decision_visibility and others), where (territorial_scope). No row
-- says which video, which person, or what a person wrote.
CREATE OR REPLACE VIEW reporting.dsa AS
SELECT 'nightreel-' || decision.id AS puid,
       NULL::jsonb AS decision_visibility,
       NULL::text AS decision_monetary,
       NULL::text AS decision_provision,
       NULL::text AS decision_account,
       'DECISION_GROUND_INCOMPATIBLE_CONTENT' AS decision_ground,
       left(prompt.set_name || '/' || prompt.name, 500) AS incompatible_content_ground,
       left(coalesce(
           nullif(policy.definition ->> 'policy_text', ''), nullif(parent.definition ->> 'policy_text', ''),
           'The content shows what these rules do not allow: ' || label.name
       ), 2000) AS incompatible_content_explanation,
       '["CONTENT_TYPE_VIDEO"]'::jsonb AS content_type,
       codes.listed ->> 0 AS category,
       CASE WHEN jsonb_array_length(codes.listed) > 1 THEN codes.listed - 0 END AS category_addition,
       NULL::jsonb AS territorial_scope,
       (SELECT min(video.modified_at)::date FROM nightreel.videos AS video
        WHERE video.content_sha256 = decision.content OR 'video:' || video.id = decision.content) AS content_date,
       decision.decided_at::date AS application_date,
       'Automated means found the label ' || label.name || ' in the pictures of the video. '
           || CASE WHEN decision.seconds_spent IS NULL THEN 'A person confirmed it together with others, by a filter.'
                   ELSE 'A person looked at it and confirmed it.' END AS decision_facts,
       'SOURCE_VOLUNTARY' AS source_type,
       'Yes' AS automated_detection,
       CASE WHEN decision.seconds_spent IS NULL THEN 'AUTOMATED_DECISION_PARTIALLY'
            ELSE 'AUTOMATED_DECISION_NOT_AUTOMATED' END AS automated_decision,
       decision.id AS decision_id
FROM nightreel.standing_decisions AS standing
JOIN nightreel.decisions AS decision ON decision.id = standing.id
JOIN nightreel.prompts AS prompt ON prompt.id = decision.prompt_id
JOIN nightreel.policies AS policy ON policy.id = (decision.shown ->> 'policy_id')::bigint
LEFT JOIN LATERAL (
    -- A follow-up has the codes of its category, unless it has its own.
    SELECT newest.definition
    FROM nightreel.prompts AS category
    JOIN nightreel.policies AS newest ON newest.prompt_id = category.id
    WHERE category.set_name = prompt.set_name AND category.name = decision.shown ->> 'category'
    ORDER BY newest.id DESC
    LIMIT 1
) AS parent ON true
CROSS JOIN LATERAL (
    SELECT prompt.name || CASE WHEN decision.tag = '' THEN '' ELSE ': ' || decision.tag END AS name
) AS label
CROSS JOIN LATERAL (
    SELECT CASE jsonb_typeof(one.code) WHEN 'string' THEN jsonb_build_array(one.code) WHEN 'array' THEN one.code END AS listed
    FROM (
        SELECT coalesce(
            CASE WHEN jsonb_typeof(policy.definition #> '{codes,dsa}') = 'object'
                 THEN policy.definition #> ARRAY['codes', 'dsa', decision.tag]
                 ELSE policy.definition #> '{codes,dsa}' END,
            parent.definition #> '{codes,dsa}'
        ) AS code
    ) AS one
) AS codes
WHERE standing.ruling = 'confirm';
