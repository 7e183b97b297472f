-- The last run before a run that ended with counts, of the same source and the same kind: the first word of its name.
SELECT run.id AS run_id,
       run.name,
       run.status,
       run.recipe_id,
       model.name AS model,
       run.environment ->> 'nightreel' AS version,
       run.counts,
       run.finished_at
FROM nightreel.runs AS this
JOIN nightreel.runs AS run
  ON run.id < this.id
 AND run.source = this.source
 AND split_part(run.name, ' ', 1) = split_part(this.name, ' ', 1)
 AND run.status IN ('completed', 'failed')
 AND run.counts IS NOT NULL
JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
JOIN nightreel.models AS model ON model.id = recipe.model_id
WHERE this.id = :run_id
ORDER BY run.id DESC
LIMIT 1
