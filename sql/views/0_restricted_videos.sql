-- Videos that only some people may see: those with a verdict on show that restricts (see nightreel.verdicts). A video
-- may be listed twice.
CREATE OR REPLACE VIEW nightreel.restricted_videos AS
SELECT video_id FROM nightreel.video_verdicts WHERE restricts
UNION ALL
SELECT segment.video_id
FROM nightreel.verdicts AS verdict
JOIN nightreel.answers AS answer ON answer.id = verdict.answer_id
JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
WHERE verdict.restricts AND verdict.shown;

-- May this user see them? Owner and worker may. The web service may in a transaction that sets `nightreel.restricted` to
-- `on`, which it does for a token with the scope `restricted`. Nobody else may.
CREATE OR REPLACE FUNCTION nightreel.sees_restricted(name name)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE name
        WHEN 'nightreel_worker' THEN true
        WHEN 'nightreel_console' THEN coalesce(current_setting('nightreel.restricted', true), '') = 'on'
        ELSE pg_has_role(name, (SELECT nspowner FROM pg_namespace WHERE nspname = 'nightreel'), 'USAGE')
    END
$$;

-- The videos whose texts and pictures the views leave out for this user. Both names count: a function with the owner's
-- rights has the owner as `current_user`; after SET ROLE, `session_user` is who connected.
CREATE OR REPLACE VIEW nightreel.hidden_videos AS
SELECT video_id FROM nightreel.restricted_videos
WHERE NOT (SELECT nightreel.sees_restricted(current_user) AND nightreel.sees_restricted(session_user));
