-- Whether a run that is not a shard's waits for memory of a device on which this run holds memory.
SELECT EXISTS (
    SELECT
    FROM nightreel.memory_leases AS mine
    JOIN nightreel.memory_leases AS waiting ON waiting.host = mine.host AND waiting.limits && mine.granted
    JOIN nightreel.runs AS run ON run.id = waiting.run_id
    WHERE mine.run_id = :run_id
      AND waiting.granted = '{}'
      AND waiting.expires_at > now()
      AND run.shard_id IS NULL
)
