-- Puts videos back to pending that used up their attempts on passing failures, the oldest failure first: after an hour,
-- the next time after two, then four, at most a day. Not videos that kill their worker, and not videos that are replaced or gone.
WITH due AS MATERIALIZED (
    SELECT analysis.id
    FROM nightreel.analyses AS analysis
    JOIN nightreel.videos AS video ON video.id = analysis.video_id
    WHERE analysis.status = 'quarantined'
      AND analysis.reason <> 'attempts_exhausted'
      AND analysis.recipe_id = ANY (CAST(:recipe_ids AS bigint[]))
      AND analysis.reopened < :max_reopened
      AND analysis.updated_at <= now() - make_interval(secs => least(:first_wait_s * 2 ^ least(analysis.reopened, 20), :longest_wait_s))
      AND video.replaced_at IS NULL
      AND video.gone_at IS NULL
    ORDER BY analysis.updated_at, analysis.id
    LIMIT :most
    FOR UPDATE OF analysis SKIP LOCKED
)
UPDATE nightreel.analyses AS analysis
SET status = 'pending',
    attempts = 0,
    reopened = reopened + 1,
    not_before = now(),
    run_id = NULL,
    reason = NULL,
    detail = NULL,
    updated_at = now()
FROM due
WHERE analysis.id = due.id
