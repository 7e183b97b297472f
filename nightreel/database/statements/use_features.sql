-- Looks up features by key, and sets their time of last use. Rows are locked in the order of their keys, because two
-- runs may look up the same ones.
WITH wanted AS MATERIALIZED (
    SELECT key FROM nightreel.features WHERE key = ANY (CAST(:keys AS text[])) ORDER BY key FOR UPDATE
)
UPDATE nightreel.features AS feature
SET last_used_at = now()
FROM wanted
WHERE feature.key = wanted.key
RETURNING feature.*
