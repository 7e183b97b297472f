-- The newest night that ended with counts; where there was none, the newest run that a person started.
SELECT run.id AS run_id,
       run.name,
       run.status,
       run.recipe_id,
       model.name AS model,
       run.environment ->> 'nightreel' AS version,
       run.counts,
       run.finished_at
FROM nightreel.runs AS run
JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
JOIN nightreel.models AS model ON model.id = recipe.model_id
WHERE run.night_id IS NULL
  AND run.shard_id IS NULL
  AND split_part(run.name, ' ', 1) IN ('night', 'analyze')
  AND run.status IN ('completed', 'failed')
  AND run.counts IS NOT NULL
ORDER BY split_part(run.name, ' ', 1) = 'night' DESC, run.id DESC
LIMIT 1
