-- Whether the roles have no special rights, PUBLIC has not either, and the owner owns the database and all in its schemas.
WITH pipeline AS (
    SELECT * FROM pg_roles
    WHERE rolname IN ('nightreel_owner', 'nightreel_worker', 'nightreel_analyst', 'nightreel_console')
),
schemas AS (
    SELECT oid, nspowner FROM pg_namespace WHERE nspname IN ('nightreel', 'reporting')
),
owners AS (
    SELECT datdba AS owner FROM pg_database WHERE datname = current_database()
    UNION SELECT nspowner FROM schemas
    UNION SELECT relowner FROM pg_class WHERE relnamespace IN (SELECT oid FROM schemas)
    UNION SELECT proowner FROM pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
)
SELECT
    (SELECT count(*) = 4
        AND NOT bool_or(rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls) FROM pipeline)
    AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member IN (SELECT oid FROM pipeline))
    AND (SELECT bool_and(owner = 'nightreel_owner'::regrole) FROM owners)
    AND NOT has_function_privilege('public', 'pg_sleep(double precision)', 'EXECUTE')
    AND NOT has_database_privilege('public', 'postgres', 'CONNECT')
    AND EXISTS (SELECT FROM pg_extension WHERE extname = 'vector');
