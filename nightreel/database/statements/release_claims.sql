-- Releases the claims of one run or, without a run, those that ran out, and gives the attempts back. Only a failure
-- counts as an attempt. A claim that ran out makes its video a suspect: its run may have died of it.
UPDATE nightreel.analyses
SET status = 'pending',
    attempts = attempts - 1,
    suspect = suspect OR CAST(:run_id AS bigint) IS NULL,
    run_id = NULL,
    lease_expires_at = NULL,
    updated_at = now()
WHERE status = 'claimed'
  AND CASE WHEN CAST(:run_id AS bigint) IS NULL THEN lease_expires_at < now() ELSE run_id = :run_id END
