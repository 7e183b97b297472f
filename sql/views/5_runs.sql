-- Runs, their counts, and the duration of each stage. `night_id`: the run that a helper worked for; the counts of a night
-- include those of its helpers.
CREATE OR REPLACE VIEW reporting.runs AS
SELECT run.id AS run_id,
       run.status,
       run.source,
       run.started_at,
       run.finished_at,
       extract(epoch FROM coalesce(run.finished_at, now()) - run.started_at)::float8 AS seconds,
       model.name AS model,
       model.revision AS model_revision,
       recipe.plan,
       run.counts,
       run.timings,
       run.error,
       run.environment,
       run.options,
       run.flow_run_id,
       run.name,
       run.night_id
FROM nightreel.runs AS run
JOIN nightreel.recipes AS recipe ON recipe.id = run.recipe_id
JOIN nightreel.models AS model ON model.id = recipe.model_id;
