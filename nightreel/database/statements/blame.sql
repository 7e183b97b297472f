-- Releases the claims of a dead run. Each of its videos may have killed it, and is a suspect from now on: a run that
-- claims it has no other claim. So a video that was alone in this run is charged with a crash, unless something else is
-- known to have ended the run. After too many crashes it is quarantined, and keeps the number of the dead run.
WITH held AS (
    SELECT id, count(*) OVER () = 1 AND :charged AS guilty
    FROM nightreel.analyses
    WHERE status = 'claimed' AND run_id = :run_id
), charged AS (
    SELECT analysis.id, analysis.crashes + held.guilty::int AS crashes, held.guilty
    FROM held
    JOIN nightreel.analyses AS analysis ON analysis.id = held.id
)
UPDATE nightreel.analyses AS analysis
SET status = CASE WHEN guilty AND charged.crashes >= :max_crashes THEN 'quarantined' ELSE 'pending' END,
    reason = CASE WHEN guilty AND charged.crashes >= :max_crashes THEN 'attempts_exhausted' END,
    detail = CASE WHEN guilty AND charged.crashes >= :max_crashes
                  THEN charged.crashes || CASE charged.crashes WHEN 1 THEN ' run' ELSE ' runs' END
                       || ' died while this video was the only work. Check the file and the memory of the host, then '
                       || '`nightreel retry --reason attempts_exhausted`' END,
    run_id = CASE WHEN guilty AND charged.crashes >= :max_crashes THEN analysis.run_id END,
    crashes = charged.crashes,
    suspect = true,
    attempts = attempts - 1,
    lease_expires_at = NULL,
    updated_at = now()
FROM charged
WHERE analysis.id = charged.id AND analysis.status = 'claimed' AND analysis.run_id = :run_id
