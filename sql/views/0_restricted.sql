-- Who may see videos that are `restricted` (nightreel.videos). Owner and worker may. The web service may in a transaction
-- that sets `nightreel.restricted` to `on`, which it does for a token with the scope `restricted`. Nobody else may.
CREATE OR REPLACE FUNCTION nightreel.sees_restricted(name name)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE name
        WHEN 'nightreel_worker' THEN true
        WHEN 'nightreel_console' THEN coalesce(current_setting('nightreel.restricted', true), '') = 'on'
        ELSE pg_has_role(name, (SELECT nspowner FROM pg_namespace WHERE nspname = 'nightreel'), 'USAGE')
    END
$$;

-- Do the views leave out texts and pictures of restricted videos? Both names count: a function with the owner's rights
-- has the owner as `current_user`; after SET ROLE, `session_user` is who connected.
CREATE OR REPLACE FUNCTION nightreel.hides_restricted()
RETURNS boolean LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT NOT (nightreel.sees_restricted(current_user) AND nightreel.sees_restricted(session_user));
END;

-- Are answers of this kind free words of a model? Those about restricted videos are for few people.
CREATE OR REPLACE FUNCTION nightreel.is_free_text(kind text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN kind IN ('caption', 'text', 'keywords', 'object');
