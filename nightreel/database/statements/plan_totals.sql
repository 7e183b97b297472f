-- The totals of the work. A copy needs only its fetch. A video with all its answers needs nothing.
WITH work AS (
    SELECT plan_wanted.*,
           status IN ('none', 'pending', 'claimed') AS wanted,
           CASE WHEN copy THEN 0 ELSE greatest(0, segments * CAST(:questions AS bigint) - answered) END AS to_ask
    FROM plan_wanted
), costed AS (
    SELECT work.*, CASE WHEN to_ask = 0 THEN 0 ELSE segments - cached END AS to_look FROM work
)
SELECT count(*) AS admitted,
       count(*) FILTER (WHERE wanted) AS videos,
       count(*) FILTER (WHERE status IN ('done', 'partly_done')) AS done,
       count(*) FILTER (WHERE status IN ('failed', 'quarantined')) AS failed,
       count(*) FILTER (WHERE wanted AND copy) AS copies,
       count(*) FILTER (WHERE wanted AND guessed) AS guessed,
       coalesce(sum(segments) FILTER (WHERE wanted), 0)::bigint AS segments,
       coalesce(sum(segments * CAST(:questions AS bigint)) FILTER (WHERE wanted), 0)::bigint AS answers,
       coalesce(sum(least(answered, segments * CAST(:questions AS bigint))) FILTER (WHERE wanted), 0)::bigint AS answered,
       coalesce(sum(to_ask) FILTER (WHERE wanted), 0)::bigint AS to_ask,
       coalesce(sum(cached) FILTER (WHERE wanted AND to_ask > 0), 0)::bigint AS cached_segments,
       coalesce(sum(to_look) FILTER (WHERE wanted), 0)::bigint AS to_look,
       coalesce(sum(size_bytes) FILTER (WHERE wanted AND (to_look > 0 OR NOT fetched)), 0)::bigint AS fetch_bytes
FROM costed
