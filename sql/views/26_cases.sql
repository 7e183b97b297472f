-- What people judge: one row for each content and queue. `uri`, `video_id`: one of its copies. `state`: open (a person
-- should decide), second (another person too), escalated, appealed (a lead), closed (all is decided) or empty (nothing is
-- left to judge). `decided`: labels with a decision that stands. Cases of golden items are left out.
CREATE OR REPLACE VIEW reporting.cases AS
SELECT one.id AS case_id,
       queue.name AS queue,
       one.state,
       nullif(one.severity, 0) AS severity,
       copy.video_id,
       copy.uri,
       copy.copies,
       found.labels,
       found.findings,
       found.decided,
       one.version,
       CASE WHEN one.taken_until > clock_timestamp() THEN taker.pseudonym END AS taken_by,
       CASE WHEN one.taken_until > clock_timestamp() THEN one.taken_until END AS taken_until,
       CASE WHEN one.hold_until > clock_timestamp() THEN one.hold_until END AS hold_until,
       assignee.pseudonym AS assigned_to,
       one.opened_at,
       one.changed_at,
       one.content AS content_sha256,
       copy.restricted,
       (SELECT console_url FROM nightreel.site) || '/cases/' || one.id AS console_url
FROM nightreel.cases AS one
JOIN nightreel.queues AS queue ON queue.id = one.queue_id
LEFT JOIN nightreel.users AS taker ON taker.id = one.taken_by
LEFT JOIN nightreel.users AS assignee ON assignee.id = one.assigned_to
CROSS JOIN LATERAL (
    SELECT min(video.video_id) AS video_id, min(video.uri) AS uri, count(*) AS copies,
           coalesce(bool_or(video.restricted), false) AS restricted
    FROM nightreel.case_videos AS video
    WHERE video.case_id = one.id
) AS copy
CROSS JOIN LATERAL (
    SELECT jsonb_agg(
               jsonb_build_object('prompt_set', prompt.set_name, 'prompt', prompt.name, 'tag', nullif(finding.tag, ''),
                                  'found', finding.found, 'severity', finding.severity, 'decision', decision.ruling)
               ORDER BY finding.severity DESC NULLS LAST, prompt.set_name, prompt.name, finding.tag
           ) AS labels,
           count(*) AS findings,
           count(decision.id) AS decided
    FROM nightreel.findings AS finding
    JOIN nightreel.prompts AS prompt ON prompt.id = finding.prompt_id
    LEFT JOIN nightreel.standing_decisions AS decision
        ON decision.content = one.content AND decision.prompt_id = finding.prompt_id AND decision.tag = finding.tag
    WHERE finding.case_id = one.id
) AS found
WHERE one.golden_id IS NULL;
