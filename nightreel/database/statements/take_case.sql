-- Take the next case of a queue (`next_case`) and note it, or find the one that the user has already.
WITH held AS MATERIALIZED (
    SELECT one.id
    FROM nightreel.cases AS one
    WHERE one.taken_by = :user_id AND one.queue_id = :queue_id AND one.taken_until > clock_timestamp()
    ORDER BY one.id
    LIMIT 1
), found AS MATERIALIZED (
$next_case
), taken AS (
    UPDATE nightreel.cases AS one
    SET taken_by = :user_id,
        taken_at = clock_timestamp(),
        taken_until = clock_timestamp() + make_interval(secs => :lock_s),
        hold_until = NULL
    FROM found
    WHERE one.id = found.id
    RETURNING one.id, one.state
), noted AS (
    INSERT INTO nightreel.case_events (case_id, kind, state, user_id)
    SELECT taken.id, 'taken', taken.state, :user_id FROM taken
)
SELECT held.id FROM held
UNION ALL
SELECT taken.id FROM taken
