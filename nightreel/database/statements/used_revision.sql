-- The commit of a hub model, or of an adapter, in the last run whose settings named it in the same way, by a branch or
-- tag or without a revision. A run with a commit in its settings decides nothing for others.
SELECT CASE WHEN :is_adapter THEN models.spec ->> 'adapter_revision' ELSE models.revision END
FROM nightreel.runs
JOIN nightreel.recipes ON recipes.id = runs.recipe_id
JOIN nightreel.models ON models.id = recipes.model_id
WHERE CASE WHEN :is_adapter
           THEN models.spec ->> 'adapter' = :repository
                AND runs.settings ->> 'adapter' = :repository
                AND runs.settings ->> 'adapter_revision' IS NOT DISTINCT FROM :revision
           ELSE models.name = :repository
                AND runs.settings ->> 'model' = :repository
                AND runs.settings ->> 'model_revision' IS NOT DISTINCT FROM :revision
      END
ORDER BY runs.id DESC
LIMIT 1
