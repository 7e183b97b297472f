-- Releases the claims of one run or, without a run, those that ran out. A run that ends cleanly gives the attempts back
-- too. The attempts of a dead run count: a video that was claimed too often without an end is quarantined, because it
-- probably kills its worker.
UPDATE nightreel.analyses
SET status = CASE WHEN :charged AND attempts >= :max_attempts THEN 'quarantined' ELSE 'pending' END,
    attempts = attempts - CASE WHEN :charged THEN 0 ELSE 1 END,
    reason = CASE WHEN :charged AND attempts >= :max_attempts THEN 'attempts_exhausted' END,
    detail = CASE WHEN :charged AND attempts >= :max_attempts
                  THEN attempts || ' runs died before they finished this video, which may be the cause. '
                       || 'Check it, then `nightreel retry --reason attempts_exhausted`' END,
    run_id = NULL,
    lease_expires_at = NULL,
    updated_at = now()
WHERE status = 'claimed'
  AND CASE WHEN CAST(:run_id AS bigint) IS NULL THEN lease_expires_at < now() ELSE run_id = :run_id END
