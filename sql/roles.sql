-- What each role may do. `nightreel db upgrade` and `nightreel db roles` run it as the owner of the tables, each time: the
-- rights are stated here, not remembered from earlier upgrades. A role that this server does not have gets none.
-- The embedded Postgres and the containers have all roles. docs/operations.md says how to make them on another server.
--
-- nightreel_owner    owns the schemas and migrates
-- nightreel_worker   reads and writes rows; makes, changes and drops no table; only adds decisions, events of cases and
--                    views seen; erases with the function nightreel.erase
-- nightreel_analyst  reads the views in `reporting`
-- nightreel_console  reads the views in `reporting`, the tokens of the REST service, people, queues and cases; adds
--                    decisions, events of cases, views seen, and cases of golden items; changes who has a case, and
--                    notes when a token was used; keeps passwords, sessions, saved searches and what people prefer; adds
--                    requests, which a process of the worker's role carries out; reads what a change of policy is computed
--                    from
DO $$
DECLARE
    role text;
BEGIN
    REVOKE ALL ON SCHEMA nightreel, reporting FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA nightreel, reporting FROM PUBLIC;
    REVOKE ALL ON FUNCTION nightreel.open_golden_case FROM PUBLIC;
    REVOKE ALL ON FUNCTION nightreel.erase(jsonb) FROM PUBLIC;
    FOR role IN
        SELECT rolname FROM pg_roles
        WHERE rolname IN ('nightreel_worker', 'nightreel_analyst', 'nightreel_console') AND rolname <> current_user
    LOOP
        EXECUTE 'GRANT CONNECT ON DATABASE ' || quote_ident(current_database()) || ' TO ' || role;
        EXECUTE 'REVOKE ALL ON SCHEMA nightreel, reporting FROM ' || role;
        EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA nightreel, reporting FROM ' || role;
        EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA nightreel, reporting FROM ' || role;
        EXECUTE 'REVOKE ALL ON FUNCTION nightreel.erase(jsonb) FROM ' || role;
        EXECUTE 'GRANT USAGE ON SCHEMA reporting TO ' || role;
        EXECUTE 'GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO ' || role;
        IF role IN ('nightreel_worker', 'nightreel_console') THEN
            EXECUTE 'GRANT EXECUTE ON FUNCTION nightreel.open_golden_case TO ' || role;
        END IF;
        IF role = 'nightreel_worker' THEN
            EXECUTE 'GRANT TEMPORARY ON DATABASE ' || quote_ident(current_database()) || ' TO nightreel_worker';
            GRANT USAGE ON SCHEMA nightreel TO nightreel_worker;
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA nightreel TO nightreel_worker;
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA nightreel TO nightreel_worker;
            REVOKE INSERT, UPDATE, DELETE ON nightreel.schema_version FROM nightreel_worker;
            REVOKE UPDATE, DELETE ON nightreel.decisions, nightreel.case_events, nightreel.views_seen FROM nightreel_worker;
            REVOKE INSERT, UPDATE, DELETE ON nightreel.erasures, nightreel.tombstones FROM nightreel_worker;
            GRANT EXECUTE ON FUNCTION nightreel.erase(jsonb) TO nightreel_worker;
        END IF;
        IF role = 'nightreel_console' THEN
            GRANT USAGE ON SCHEMA nightreel TO nightreel_console;
            GRANT SELECT ON nightreel.schema_version TO nightreel_console;
            GRANT SELECT, UPDATE (last_used_at) ON nightreel.tokens TO nightreel_console;
            GRANT SELECT ON nightreel.users, nightreel.queues, nightreel.queue_policies, nightreel.findings,
                nightreel.case_videos TO nightreel_console;
            GRANT SELECT, UPDATE (taken_by, taken_at, taken_until, hold_until, assigned_to, skipped_by)
                ON nightreel.cases TO nightreel_console;
            GRANT SELECT, INSERT ON nightreel.decisions, nightreel.case_events TO nightreel_console;
            GRANT SELECT ON nightreel.sampled_labels, nightreel.golden_items, nightreel.golden_labels TO nightreel_console;
            GRANT INSERT ON nightreel.views_seen TO nightreel_console;
            GRANT SELECT ON nightreel.legal_holds, nightreel.held_videos TO nightreel_console;
            GRANT SELECT, INSERT, UPDATE (hash, changed_at, expires_at) ON nightreel.passwords TO nightreel_console;
            GRANT SELECT, INSERT, UPDATE (last_used_at, revoked_at), DELETE ON nightreel.sessions TO nightreel_console;
            GRANT SELECT, INSERT, UPDATE, DELETE ON nightreel.sign_in_failures TO nightreel_console;
            GRANT SELECT, INSERT, DELETE ON nightreel.sign_in_links TO nightreel_console;
            GRANT SELECT, INSERT, UPDATE (chosen) ON nightreel.preferences TO nightreel_console;
            GRANT SELECT, INSERT, UPDATE (name, query, shared), DELETE ON nightreel.saved_searches TO nightreel_console;
            GRANT SELECT, INSERT (kind, detail, user_id) ON nightreel.requests TO nightreel_console;
            -- What a change of policy would do is computed from the stored answers.
            GRANT SELECT ON nightreel.prompts, nightreel.policies, nightreel.questions, nightreel.recipe_prompts,
                nightreel.recipes, nightreel.models, nightreel.videos, nightreel.segments, nightreel.features,
                nightreel.answers, nightreel.verdicts, nightreel.video_verdicts, nightreel.analyses TO nightreel_console;
            GRANT SELECT (id, name, status, recipe_id, environment, counts, finished_at, night_id, shard_id, source)
                ON nightreel.runs TO nightreel_console;
        END IF;
    END LOOP;
END
$$;
