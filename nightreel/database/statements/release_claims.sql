-- Claims given back: those of one run, or (without a run) those whose lease ran out. A run that ends in order gives
-- the attempt back with them; one that died does not: what was claimed too often without ever coming to an end is set
-- aside, because it probably kills its worker.
UPDATE nightreel.analyses
SET status = CASE WHEN :charged AND attempts >= :max_attempts THEN 'quarantined' ELSE 'pending' END,
    attempts = attempts - CASE WHEN :charged THEN 0 ELSE 1 END,
    reason = CASE WHEN :charged AND attempts >= :max_attempts THEN 'attempts_exhausted' END,
    detail = CASE WHEN :charged AND attempts >= :max_attempts
                  THEN attempts || ' runs ended before this video did: it may be what ended them. '
                       || 'Look at it, then `nightreel retry --reason attempts_exhausted`' END,
    run_id = NULL,
    lease_expires_at = NULL,
    updated_at = now()
WHERE status = 'claimed'
  AND CASE WHEN CAST(:run_id AS bigint) IS NULL THEN lease_expires_at < now() ELSE run_id = :run_id END
