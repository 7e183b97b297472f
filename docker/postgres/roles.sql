-- The roles and databases of the containers, stated at each start by the superuser: the service `roles` runs it with
-- psql. The worker reads and writes rows, the owner migrates, analysts and the web service read views, Prefect has its own
-- database. Volumes of older versions, in which the superuser owned everything, are handed over.
\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/postgres_owner_password`
\set worker_password `cat /run/secrets/postgres_worker_password`
\set analyst_password `cat /run/secrets/postgres_analyst_password`
\set console_password `cat /run/secrets/postgres_console_password`
\set prefect_password `cat /run/secrets/postgres_prefect_password`

SELECT 'CREATE ROLE ' || name FROM unnest(ARRAY['nightreel_owner', 'nightreel_worker', 'nightreel_analyst', 'nightreel_console', 'prefect']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE nightreel_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'owner_password';
ALTER ROLE nightreel_worker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'worker_password';
ALTER ROLE nightreel_analyst LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 20
    PASSWORD :'analyst_password';
ALTER ROLE nightreel_console LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 40
    PASSWORD :'console_password';
\ir role_settings.sql
ALTER ROLE prefect LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'prefect_password';

SELECT 'CREATE DATABASE prefect' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'prefect') \gexec
ALTER DATABASE nightreel OWNER TO nightreel_owner;
ALTER DATABASE prefect OWNER TO prefect;
REVOKE ALL ON DATABASE prefect, postgres, template1 FROM PUBLIC;

\connect nightreel
\ir hand_over.sql
\ir close_public.sql

\connect prefect
SET search_path = pg_catalog, pg_temp;
SELECT format('ALTER TABLE %s OWNER TO prefect', oid::regclass) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND relowner <> 'prefect'::regrole
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND classid = 'pg_class'::regclass AND deptype = 'e')
\gexec
SELECT format('ALTER TYPE %s OWNER TO prefect', oid::regtype) FROM pg_type
WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd') AND typowner <> 'prefect'::regrole
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_type.oid AND classid = 'pg_type'::regclass AND deptype = 'e')
\gexec
SELECT format('ALTER ROUTINE %s OWNER TO prefect', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proowner <> 'prefect'::regrole
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND classid = 'pg_proc'::regclass AND deptype = 'e')
\gexec
