-- The severe cases that a person decided since the last pause, and whether the newest decision was about one. A pause is
-- a time of at least :pause_s without a decision.
WITH batch AS (
    SELECT max(decided_at) AS at,
           coalesce(max(CAST(shown ->> 'severity' AS integer)), 0) >= :severity AS severe
    FROM nightreel.decisions
    WHERE user_id = :user_id AND undoes IS NULL AND decided_at > clock_timestamp() - interval '1 day'
    GROUP BY batch_id
), paused AS (
    SELECT at, severe, at - lag(at) OVER (ORDER BY at) >= make_interval(secs => :pause_s) AS after_pause
    FROM batch
)
SELECT count(*) FILTER (
           WHERE severe AND at >= coalesce((SELECT max(at) FROM paused WHERE after_pause), '-infinity')
       ) AS severe,
       coalesce((SELECT severe FROM paused ORDER BY at DESC LIMIT 1), false) AS newest_is_severe,
       coalesce(max(at) < clock_timestamp() - make_interval(secs => :pause_s), true) AS rested
FROM paused
