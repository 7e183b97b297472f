-- Gives the schemas of Nightreel and all in them to the owner. In older versions the superuser made them. The superuser
-- runs it: at a start of the embedded Postgres, and in containers (docker/postgres/roles.sql). Sequences of columns
-- follow their tables, and indexes too. pgvector needs a superuser to be made.
SET search_path = pg_catalog, pg_temp; -- no object of another role stands for one of Postgres
DO $$
DECLARE
    found record;
BEGIN
    CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
    FOR found IN SELECT nspname FROM pg_namespace WHERE nspname IN ('nightreel', 'reporting') LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO nightreel_owner', found.nspname);
    END LOOP;
    FOR found IN
        SELECT relation.oid, CASE relation.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind
        FROM pg_class AS relation
        WHERE relation.relnamespace::regnamespace::text IN ('nightreel', 'reporting')
            AND relation.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            AND relation.relowner <> 'nightreel_owner'::regrole
            AND NOT (relation.relkind = 'S' AND EXISTS (
                SELECT FROM pg_depend
                WHERE pg_depend.objid = relation.oid AND pg_depend.classid = 'pg_class'::regclass
                    AND pg_depend.deptype IN ('a', 'i') AND pg_depend.refobjsubid > 0
            ))
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO nightreel_owner', found.kind, found.oid::regclass);
    END LOOP;
    FOR found IN
        SELECT oid FROM pg_proc
        WHERE pronamespace::regnamespace::text IN ('nightreel', 'reporting')
            AND proowner <> 'nightreel_owner'::regrole
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO nightreel_owner', found.oid::regprocedure);
    END LOOP;
    FOR found IN
        SELECT oid FROM pg_type
        WHERE typnamespace::regnamespace::text IN ('nightreel', 'reporting')
            AND typtype IN ('e', 'd') AND typowner <> 'nightreel_owner'::regrole
    LOOP
        EXECUTE format('ALTER TYPE %s OWNER TO nightreel_owner', found.oid::regtype);
    END LOOP;
END
$$;
