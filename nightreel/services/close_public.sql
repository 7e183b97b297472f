-- Takes from PUBLIC what Postgres gives to every role, and gives it to owner and worker alone: functions that hold a
-- connection, take locks that runs wait for, end other sessions, store bytes, or list the settings of the server, and
-- programs in a procedural language. Nobody else connects to the database. The superuser runs it: at a start of the embedded Postgres, and in containers
-- (docker/postgres/roles.sql). An upgrade of Postgres makes them anew.
SET search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    found record;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO nightreel_worker, nightreel_analyst, nightreel_console', current_database()
    );
    FOR found IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
            AND (proname ~ '^(lo_|pg_sleep|pg_advisory|pg_try_advisory|pg_show_all_settings$)'
                OR proname IN ('loread', 'lowrite', 'pg_notify', 'pg_cancel_backend', 'pg_terminate_backend',
                    'pg_export_snapshot', 'pg_logical_emit_message'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', found.name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO nightreel_owner, nightreel_worker', found.name);
    END LOOP;
    FOR found IN SELECT lanname AS name FROM pg_language WHERE lanpltrusted LOOP
        EXECUTE format('REVOKE USAGE ON LANGUAGE %I FROM PUBLIC', found.name);
        EXECUTE format('GRANT USAGE ON LANGUAGE %I TO nightreel_owner, nightreel_worker', found.name);
    END LOOP;
    FOR found IN SELECT unnest(ARRAY['pg_settings', 'pg_db_role_setting']) AS name LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', found.name);
        EXECUTE format('GRANT SELECT ON %I TO nightreel_owner, nightreel_worker', found.name);
    END LOOP;
END
$$;
