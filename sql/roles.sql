-- What each role may do. `nightreel db upgrade` runs it after the migrations, as the owner of the tables, each time: the
-- rights are stated here, not remembered from earlier upgrades. A role that this server does not have gets none.
-- The embedded Postgres has both roles. docs/operations.md says how to make them on another server.
--
-- nightreel_owner    owns the schemas and migrates
-- nightreel_worker   reads and writes rows; makes, changes and drops no table
DO $$
BEGIN
    IF current_user = 'nightreel_worker' OR NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'nightreel_worker') THEN
        RETURN;
    END IF;
    EXECUTE 'GRANT CONNECT, TEMPORARY ON DATABASE ' || quote_ident(current_database()) || ' TO nightreel_worker';
    REVOKE ALL ON SCHEMA nightreel, reporting FROM nightreel_worker;
    REVOKE ALL ON ALL TABLES IN SCHEMA nightreel, reporting FROM nightreel_worker;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA nightreel, reporting FROM nightreel_worker;
    GRANT USAGE ON SCHEMA nightreel, reporting TO nightreel_worker;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA nightreel TO nightreel_worker;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA nightreel TO nightreel_worker;
    GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO nightreel_worker;
    REVOKE INSERT, UPDATE, DELETE ON nightreel.schema_version FROM nightreel_worker;
END
$$;
