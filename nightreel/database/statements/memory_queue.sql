-- Leased device memory by concurrency limit, and the waiting requests. Expired rows do not count.
SELECT coalesce(
           (
               SELECT jsonb_object_agg(held.name, held.mib)
               FROM (
                   SELECT name, sum(mib) AS mib
                   FROM nightreel.memory_leases, unnest(granted) AS name
                   WHERE expires_at > now()
                   GROUP BY name
               ) AS held
           ),
           '{}'
       ) AS leased,
       count(*) FILTER (WHERE granted = '{}') AS waiting,
       coalesce(extract(epoch FROM now() - min(requested_at) FILTER (WHERE granted = '{}')), 0)::float8 AS longest_s
FROM nightreel.memory_leases
WHERE expires_at > now();
