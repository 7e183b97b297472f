-- Features looked up by key are used now. Locked in the order of their keys: two runs may look at the same bytes.
WITH wanted AS MATERIALIZED (
    SELECT key FROM nightreel.features WHERE key = ANY (CAST(:keys AS text[])) ORDER BY key FOR UPDATE
)
UPDATE nightreel.features AS feature
SET last_used_at = now()
FROM wanted
WHERE feature.key = wanted.key
RETURNING feature.*
