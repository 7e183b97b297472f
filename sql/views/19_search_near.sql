-- Search by meaning: the segments whose vectors are near a vector. It needs pgvector 0.8 or newer. Where that is missing,
-- all else works, and this says so.

-- The vectors of `nightreel.vectors` are of pgvector's type. Its column is added as soon as pgvector is installed, here and
-- not in a migration, and again if pgvector was removed in between. Only a superuser can install it on most servers, so a
-- refusal is no error: `nightreel doctor` tells.
DO $$
DECLARE
    home text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'vector') THEN
        BEGIN
            CREATE EXTENSION vector WITH SCHEMA public;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE USING MESSAGE = 'no search by meaning: pgvector cannot be installed: ' || SQLERRM;
        END;
    END IF;
    SELECT quote_ident(extnamespace::regnamespace::text) INTO home FROM pg_catalog.pg_extension WHERE extname = 'vector';
    IF home IS NOT NULL
       AND to_regtype(home || '.halfvec') IS NOT NULL
       AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_attribute
           WHERE attrelid = 'nightreel.vectors'::regclass AND attname = 'vector' AND NOT attisdropped
       )
    THEN
        DELETE FROM nightreel.vectors;
        EXECUTE 'ALTER TABLE nightreel.vectors ADD COLUMN vector ' || home || '.halfvec NOT NULL';
    END IF;
END
$$;

-- Why there is no search by meaning; null: it works.
CREATE OR REPLACE FUNCTION reporting.search_near_lacks()
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN one.extversion IS NULL THEN
            'this Postgres has no pgvector: let an administrator of the server run CREATE EXTENSION vector in this '
            'database, then run `nightreel db upgrade`'
        WHEN string_to_array(regexp_replace(one.extversion, '[^0-9.].*', ''), '.')::integer[] < ARRAY[0, 8] THEN
            'this Postgres has pgvector ' || one.extversion || ': let an administrator of the server update it to 0.8 or '
            'newer (ALTER EXTENSION vector UPDATE), then run `nightreel db upgrade`'
        WHEN NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'nightreel.vectors'::regclass AND attname = 'vector' AND NOT attisdropped
        ) THEN
            'pgvector was installed after the tables: run `nightreel db upgrade`'
    END
    FROM (VALUES (true)) AS always LEFT JOIN pg_extension AS one ON one.extname = 'vector'
$$;

-- The same for the vectors of one model, by its hash: there may be none yet, or those of another model.
CREATE OR REPLACE FUNCTION reporting.search_near_lacks(embedding_model text)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        reporting.search_near_lacks(),
        CASE
            WHEN last.id IS NULL THEN 'no segment has a vector yet: `nightreel vectors fill` makes them'
            WHEN known.id IS NULL THEN
                'the segments have vectors of the model ' || last.name || ' at ' || left(last.revision, 20)
                || ': set NIGHTREEL_EMBEDDING_MODEL to it, or let `nightreel vectors fill` make those of yours'
        END
    )
    FROM (VALUES (true)) AS always
    LEFT JOIN (SELECT * FROM nightreel.embedding_models ORDER BY used_at DESC, id DESC LIMIT 1) AS last ON true
    LEFT JOIN nightreel.embedding_models AS known ON known.hash = coalesce(search_near_lacks.embedding_model, last.hash)
$$;

-- The commit of a model on a hub that made vectors last; null: none did.
CREATE OR REPLACE FUNCTION reporting.search_near_commit(repository text)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT one.revision FROM nightreel.embedding_models AS one
    WHERE one.name = repository AND NOT starts_with(one.revision, 'sha256:')
    ORDER BY one.used_at DESC LIMIT 1
$$;

-- Makes the index of one model's vectors, if there is none, with the owner's rights: whoever adds vectors calls it, and may
-- change no table. While it is made, nothing is added: call it before the first vector of a model.
CREATE OR REPLACE FUNCTION nightreel.index_vectors(embedding_model bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- With less than the whole index, building it takes several times as long. It takes only what it needs.
SET maintenance_work_mem = '1GB' AS $$
DECLARE
    home text;
    width integer;
    name CONSTANT text := 'vectors_near_' || embedding_model || '_idx';
BEGIN
    IF NOT has_table_privilege(session_user, 'nightreel.vectors', 'INSERT') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'permission denied: only who adds vectors';
    END IF;
    SELECT one.width INTO STRICT width FROM nightreel.embedding_models AS one WHERE one.id = embedding_model;
    SELECT quote_ident(extnamespace::regnamespace::text) INTO STRICT home FROM pg_extension WHERE extname = 'vector';
    IF to_regclass('nightreel.' || name) IS NULL THEN
        EXECUTE 'CREATE INDEX IF NOT EXISTS ' || name || ' ON nightreel.vectors USING hnsw ((vector::' || home || '.halfvec('
             || width || ')) ' || home || '.halfvec_cosine_ops) WHERE embedding_model_id = ' || embedding_model;
    END IF;
END
$$;

-- The segments nearest to a vector, or to the vector of a segment: `like_video` and `like_segment`, as the other functions
-- and views number them. `likeness`: the cosine, at most 1. Filters: as those of reporting.search, and restricted videos are
-- left out as there, also as what to be like. `embedding_model`: the hash of the model that made the vector; without it, the
-- one used last. Vectors of different models are never compared. docs/analysts.md has examples.
--
-- An index finds the nearest segments, and goes on until enough of them pass the filters. Where a filter leaves few
-- segments, or the index gives up too early, all that pass are compared: no filter hides a segment.
CREATE OR REPLACE FUNCTION reporting.search_near(
    vector real[] DEFAULT NULL,
    like_video bigint DEFAULT NULL,
    like_segment integer DEFAULT 0,
    embedding_model text DEFAULT NULL,
    prompt text DEFAULT NULL,
    verdict text DEFAULT NULL,
    min_severity integer DEFAULT NULL,
    min_p float8 DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    under text DEFAULT NULL,
    min_duration_s float8 DEFAULT NULL,
    max_duration_s float8 DEFAULT NULL,
    from_s float8 DEFAULT NULL,
    to_s float8 DEFAULT NULL,
    model text DEFAULT NULL,
    run bigint DEFAULT NULL,
    restricted boolean DEFAULT false,
    most integer DEFAULT 20,
    as_of bigint DEFAULT NULL
)
RETURNS TABLE (
    video_id bigint, uri text, segment integer, start_s float8, end_s float8, likeness float8, found_in text, said text,
    is_restricted boolean, segment_id bigint, newest_segment bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Only the index yields segments in the order of their distance: with a sort, Postgres would compute all distances.
SET max_parallel_workers_per_gather = 0 SET enable_mergejoin = off SET enable_hashjoin = off SET enable_sort = off AS $$
DECLARE
    few CONSTANT integer := 10000;
    lacks CONSTANT text := reporting.search_near_lacks();
    shows_restricted CONSTANT boolean := coalesce(restricted AND nightreel.sees_restricted(session_user), false);
    encoder record;
    filter record;
    home text;
    kind text;
    distance text;
    seed bigint;
    passing integer;
    near bigint[];
    distances float8[];
    chosen text;
BEGIN
    IF lacks IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = lacks;
    END IF;
    SELECT one.id, one.width INTO encoder FROM nightreel.embedding_models AS one
    WHERE embedding_model IS NULL OR one.hash = embedding_model ORDER BY one.used_at DESC, one.id DESC LIMIT 1;
    IF encoder.id IS NULL THEN
        RETURN;
    END IF;
    most := least(greatest(coalesce(most, 20), 0), 1000);
    SELECT quote_ident(extnamespace::regnamespace::text) INTO home FROM pg_extension WHERE extname = 'vector';
    kind := home || '.halfvec(' || encoder.width || ')';
    as_of := coalesce(as_of, (SELECT max(one.segment_id) FROM nightreel.documents AS one));
    SELECT * INTO filter FROM nightreel.search_filter(
        prompt, verdict, min_severity, min_p, since, until, under, min_duration_s, max_duration_s, from_s, to_s, model, run,
        restricted
    );
    IF like_video IS NOT NULL THEN
        SELECT one.id INTO seed FROM nightreel.segments AS one
        JOIN nightreel.documents AS document ON document.segment_id = one.id
        JOIN nightreel.videos AS video ON video.id = one.video_id
        WHERE one.video_id = like_video AND one.index = like_segment
          AND (shows_restricted OR NOT video.restricted)
        ORDER BY one.id DESC LIMIT 1;
        EXECUTE 'SELECT one.vector::real[] FROM nightreel.vectors AS one WHERE one.embedding_model_id = $1 AND one.segment_id = $2'
        INTO vector USING encoder.id, seed;
    END IF;
    IF vector IS NULL THEN
        RETURN;
    END IF;
    IF coalesce(array_length(vector, 1), 0) <> encoder.width OR array_ndims(vector) <> 1
       OR EXISTS (SELECT FROM unnest(vector) AS one WHERE one IS NULL OR one = 'NaN' OR abs(one) > 60000) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'vector: expected ' || encoder.width || ' numbers from -60000 to 60000';
    END IF;
    distance := '(one.vector::' || kind || ') OPERATOR(' || home || '.<=>) $1::real[]::' || kind;
    chosen := ' AND one.segment_id <= $3 AND one.segment_id IS DISTINCT FROM $4';
    IF num_nonnulls(
        prompt, verdict, min_severity, min_p, since, until, under, min_duration_s, max_duration_s, from_s, to_s, model, run
    ) > 0 THEN
        EXECUTE 'SELECT count(*) FROM (SELECT FROM nightreel.documents AS document ' || filter.of_video
             || ' WHERE document.segment_id <= $1' || filter.conditions || ' LIMIT $2) AS passing'
        INTO passing USING as_of, few + 1;
    END IF;
    IF passing IS NULL OR passing > few THEN
        PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true),
                set_config('hnsw.ef_search', least(greatest(3 * most, 100), 1000)::text, true),
                set_config('hnsw.max_scan_tuples', '100000', true);
        EXECUTE 'SELECT array_agg(segment_id ORDER BY distance, segment_id), array_agg(distance ORDER BY distance, segment_id)
                 FROM (SELECT one.segment_id, ' || distance || ' AS distance
                       FROM nightreel.vectors AS one
                       JOIN nightreel.documents AS document ON document.segment_id = one.segment_id ' || filter.of_video || '
                       WHERE one.embedding_model_id = ' || encoder.id || chosen || filter.conditions || '
                       ORDER BY ' || distance || ' LIMIT $2) AS near'
        INTO near, distances USING vector, most, as_of, seed;
    END IF;
    IF passing <= few OR coalesce(array_length(near, 1), 0) < most THEN
        EXECUTE 'WITH passing AS MATERIALIZED (
                     SELECT one.segment_id, ' || distance || ' AS distance
                     FROM nightreel.documents AS document ' || filter.of_video || '
                     JOIN nightreel.vectors AS one
                         ON one.embedding_model_id = $5 AND one.segment_id = document.segment_id
                     WHERE true' || chosen || filter.conditions || '
                 )
                 SELECT array_agg(segment_id ORDER BY distance, segment_id), array_agg(distance ORDER BY distance, segment_id)
                 FROM (SELECT * FROM passing ORDER BY distance, segment_id LIMIT $2) AS near'
        INTO near, distances USING vector, most, as_of, seed, encoder.id;
    END IF;
    RETURN QUERY
    SELECT video.id, video.uri, one.index, one.start_s, one.end_s, 1 - found.distance, best.found_in, best.said,
           video.restricted, one.id, as_of
    FROM unnest(near, distances) WITH ORDINALITY AS found (id, distance, place)
    JOIN nightreel.segments AS one ON one.id = found.id
    JOIN nightreel.videos AS video ON video.id = one.video_id
    LEFT JOIN LATERAL nightreel.search_text(one.id, filter.prompt_ids, NULL, NULL, NULL) AS best ON true
    ORDER BY found.place;
END
$$;
