-- Makes finished analyses pending again, because a follow-up is newly due: under recipes that are current and ask it. The
-- next run asks it alone: all other answers are there.
UPDATE nightreel.analyses AS analysis
SET status = 'pending', attempts = 0, not_before = now(), updated_at = now()
WHERE analysis.video_id = ANY (CAST(:video_ids AS bigint[]))
  AND analysis.status IN ('done', 'partly_done')
  AND EXISTS (SELECT
              FROM nightreel.recipe_prompts AS asked
              JOIN nightreel.current_recipes AS current ON current.recipe_id = asked.recipe_id
              WHERE asked.recipe_id = analysis.recipe_id
                AND asked.prompt_id = ANY (CAST(:prompt_ids AS bigint[])))
