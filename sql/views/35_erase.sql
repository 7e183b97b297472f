-- The contents that no other video has.
CREATE OR REPLACE FUNCTION nightreel.contents_only_of(video_ids bigint[]) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT video.content_sha256 FROM nightreel.videos AS video
    WHERE video.id = ANY (video_ids) AND video.content_sha256 IS NOT NULL AND NOT EXISTS (
        SELECT FROM nightreel.videos AS copy
        WHERE copy.content_sha256 = video.content_sha256 AND copy.id <> ALL (video_ids)
    )
$$;
-- The keys of the features of these contents, and of those behind answers about these videos alone.
CREATE OR REPLACE FUNCTION nightreel.features_only_of(video_ids bigint[]) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT feature.key FROM nightreel.features AS feature
    WHERE feature.content_sha256 IN (SELECT nightreel.contents_only_of(video_ids))
    UNION
    SELECT feature.key
    FROM nightreel.segments AS segment
    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
    JOIN nightreel.features AS feature ON feature.key = answer.feature_key
    WHERE segment.video_id = ANY (video_ids) AND feature.content_sha256 IS NULL AND NOT EXISTS (
        SELECT FROM nightreel.answers AS other
        JOIN nightreel.segments AS elsewhere ON elsewhere.id = other.segment_id
        WHERE other.feature_key = feature.key AND elsewhere.video_id <> ALL (video_ids)
    )
$$;
-- Erases videos: the only code that changes decisions and events of cases, by their owner's right. One call is one
-- transaction. It removes all that is known of the videos, and blanks what people wrote about contents without another
-- copy; who decided what about which label, and when, stays. It logs itself in `erasures`.
--
-- request: {"kind", "made_by", "reason": of the log, "video_ids": [1], "queries": [key as in the query of an address],
--           "key_id": hex, "macs": [hex: tombstones], "content_macs": {content: hex of its tombstone}}
--
-- Errors: NR001 a legal hold, NR002 a run works on a video, NR003 features with files: these are deleted first.
CREATE OR REPLACE FUNCTION nightreel.erase(request jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    its_videos bigint[] := ARRAY(SELECT jsonb_array_elements_text(request -> 'video_ids')::bigint ORDER BY 1);
    its_uris text[];
    its_contents text[];
    its_names text[];  -- of contents in cases and decisions
    its_answers bigint[];
    its_whole_answers bigint[];
    its_features text[];
    its_cases bigint[];
    its_notes bigint[];
    its_id bigint;
    done jsonb := '{}';
    one record;
    number bigint;
BEGIN
    -- `stages.identify` takes the same lock before it looks for a tombstone and records a content.
    PERFORM pg_advisory_xact_lock(hashtextextended('nightreel content ' || content, 0))
    FROM (SELECT DISTINCT content_sha256 AS content FROM nightreel.videos
          WHERE id = ANY (its_videos) AND content_sha256 IS NOT NULL ORDER BY 1) AS contents;
    PERFORM FROM nightreel.videos WHERE id = ANY (its_videos) ORDER BY id FOR UPDATE;
    PERFORM FROM nightreel.analyses WHERE video_id = ANY (its_videos) ORDER BY id FOR UPDATE;
    IF EXISTS (SELECT FROM nightreel.held_videos WHERE video_id = ANY (its_videos)) THEN
        RAISE SQLSTATE 'NR001' USING MESSAGE = 'a legal hold counts for one of these videos';
    END IF;
    IF EXISTS (SELECT FROM nightreel.analyses WHERE video_id = ANY (its_videos) AND status = 'claimed') THEN
        RAISE SQLSTATE 'NR002' USING MESSAGE = 'a run works on one of these videos';
    END IF;

    INSERT INTO nightreel.erasures (kind, made_by, reason)
    VALUES (request ->> 'kind', request ->> 'made_by', request ->> 'reason') RETURNING id INTO its_id;
    its_uris := ARRAY(SELECT DISTINCT uri FROM nightreel.videos WHERE id = ANY (its_videos));
    its_contents := ARRAY(SELECT nightreel.contents_only_of(its_videos));
    its_features := ARRAY(SELECT nightreel.features_only_of(its_videos));
    its_answers := ARRAY(
        SELECT answer.id FROM nightreel.answers AS answer
        JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
        WHERE segment.video_id = ANY (its_videos)
    );
    its_whole_answers := ARRAY(SELECT id FROM nightreel.whole_answers WHERE video_id = ANY (its_videos));
    its_notes := ARRAY(SELECT DISTINCT notes_id FROM nightreel.whole_answers WHERE id = ANY (its_whole_answers));

    -- An original gives its place to its first copy elsewhere.
    FOR one IN
        SELECT reused_from AS original, min(id) AS heir FROM nightreel.answers
        WHERE reused_from = ANY (its_answers) AND id <> ALL (its_answers) GROUP BY reused_from
    LOOP
        UPDATE nightreel.answers SET reused_from = nullif(one.heir, id)
        WHERE reused_from = one.original AND id <> ALL (its_answers);
        UPDATE nightreel.notes SET answer_ids = array_replace(answer_ids, one.original, one.heir)
        WHERE id = ANY (its_notes);
    END LOOP;
    FOR one IN
        SELECT reused_from AS original, min(id) AS heir FROM nightreel.whole_answers
        WHERE reused_from = ANY (its_whole_answers) AND id <> ALL (its_whole_answers) GROUP BY reused_from
    LOOP
        UPDATE nightreel.whole_answers SET reused_from = nullif(one.heir, id)
        WHERE reused_from = one.original AND id <> ALL (its_whole_answers);
    END LOOP;

    PERFORM FROM nightreel.features WHERE key = ANY (its_features) ORDER BY key FOR UPDATE;
    IF EXISTS (SELECT FROM nightreel.features WHERE key = ANY (its_features) AND num_nonnulls(uri, thumbnail_uri) > 0) THEN
        RAISE SQLSTATE 'NR003' USING MESSAGE = 'there are features with files';
    END IF;

    DELETE FROM nightreel.webhook_deliveries WHERE video_id = ANY (its_videos);
    GET DIAGNOSTICS number = ROW_COUNT;
    done := done || jsonb_build_object('webhook_deliveries', number);
    DELETE FROM nightreel.video_verdicts WHERE video_id = ANY (its_videos);
    DELETE FROM nightreel.whole_answers WHERE id = ANY (its_whole_answers);
    GET DIAGNOSTICS number = ROW_COUNT;
    DELETE FROM nightreel.notes AS note
    WHERE id = ANY (its_notes) AND NOT EXISTS (SELECT FROM nightreel.whole_answers WHERE notes_id = note.id);
    DELETE FROM nightreel.answers WHERE id = ANY (its_answers);
    done := done || jsonb_build_object('answers', number + cardinality(its_answers));
    DELETE FROM nightreel.vectors AS vector USING nightreel.segments AS segment
    WHERE segment.id = vector.segment_id AND segment.video_id = ANY (its_videos);
    GET DIAGNOSTICS number = ROW_COUNT;
    done := done || jsonb_build_object('vectors', number);
    DELETE FROM nightreel.segments WHERE video_id = ANY (its_videos);
    GET DIAGNOSTICS number = ROW_COUNT;
    done := done || jsonb_build_object('segments', number);
    DELETE FROM nightreel.failed_segments AS segment USING nightreel.analyses AS analysis
    WHERE analysis.id = segment.analysis_id AND analysis.video_id = ANY (its_videos);
    DELETE FROM nightreel.analyses WHERE video_id = ANY (its_videos);
    DELETE FROM nightreel.features WHERE key = ANY (its_features);
    GET DIAGNOSTICS number = ROW_COUNT;
    done := done || jsonb_build_object('features', number);

    -- What people said of contents without a copy. The case is over: `erased` is its last event.
    its_names := its_contents || ARRAY(SELECT 'video:' || id FROM unnest(its_videos) AS id);
    its_cases := ARRAY(
        SELECT own.id FROM nightreel.cases AS own
        LEFT JOIN nightreel.golden_items AS golden ON golden.id = own.golden_id
        WHERE own.content = ANY (its_names) OR golden.content = ANY (its_names)
    );
    PERFORM FROM nightreel.cases WHERE id = ANY (its_cases) ORDER BY id FOR UPDATE;
    DELETE FROM nightreel.findings WHERE case_id = ANY (its_cases);
    UPDATE nightreel.decisions
    SET note = NULL, start_s = NULL, end_s = NULL,
        content = coalesce('erased:' || its_id || ':' || array_position(its_names, content), content),
        shown = shown || CASE WHEN shown ? 'p' THEN '{"p": null, "first_s": null, "ranges": [], "answer_ids": []}'::jsonb
                              ELSE '{}' END
    WHERE content = ANY (its_names) OR case_id = ANY (its_cases);
    GET DIAGNOSTICS number = ROW_COUNT;
    done := done || jsonb_build_object('blanked_decisions', number);
    UPDATE nightreel.case_events
    SET detail = (SELECT jsonb_object_agg(key, value) FROM jsonb_each(detail) WHERE jsonb_typeof(value) = 'number')
    WHERE case_id = ANY (its_cases) AND detail IS NOT NULL;
    INSERT INTO nightreel.case_events (case_id, kind, state, detail)
    SELECT id, 'erased', 'empty', jsonb_build_object('erasure', its_id) FROM unnest(its_cases) AS id;
    UPDATE nightreel.cases
    SET content = coalesce('erased:' || its_id || ':' || array_position(its_names, content), content),
        severity = 0, version = version + 1, taken_by = NULL, taken_at = NULL, taken_until = NULL, hold_until = NULL,
        assigned_to = NULL, skipped_by = '{}'
    WHERE id = ANY (its_cases);

    FOR one IN
        SELECT 'nightreel.' || quote_ident(place.relname) AS place
        FROM pg_class AS place
        JOIN pg_attribute AS attribute ON attribute.attrelid = place.oid AND attribute.attname = 'content'
        WHERE place.relnamespace = 'nightreel'::regnamespace AND place.relkind = 'r'
          AND place.relname NOT IN ('cases', 'decisions')
    LOOP
        EXECUTE 'UPDATE ' || one.place || ' SET content = $1 || array_position($2, content) WHERE content = ANY ($2)'
        USING 'erased:' || its_id || ':', its_names;
    END LOOP;

    DELETE FROM nightreel.saved_searches AS search
    WHERE EXISTS (
        SELECT FROM unnest(its_uris || ARRAY(SELECT jsonb_array_elements_text(request -> 'queries'))) AS named
        WHERE strpos(search.name, named) > 0 OR strpos(search.query, named) > 0
    );
    -- Where a key is part of something else: options and errors of runs, notes about copies, bounds of shards.
    FOR one IN SELECT uri, substr(to_jsonb(uri)::text, 2, length(to_jsonb(uri)::text) - 2) AS quoted FROM unnest(its_uris) AS uri
    LOOP
        UPDATE nightreel.runs
        SET options = replace(options::text, one.quoted, 'erased:' || its_id)::jsonb,
            counts = replace(counts::text, one.quoted, 'erased:' || its_id)::jsonb,
            environment = replace(environment::text, one.quoted, 'erased:' || its_id)::jsonb,
            error = replace(error, one.uri, 'erased:' || its_id)
        WHERE strpos(concat(options, counts, environment), one.quoted) > 0 OR strpos(error, one.uri) > 0;
        UPDATE nightreel.decisions SET note = replace(note, one.uri, 'erased:' || its_id) WHERE strpos(note, one.uri) > 0;
        UPDATE nightreel.case_events SET detail = replace(detail::text, one.quoted, 'erased:' || its_id)::jsonb
        WHERE strpos(detail::text, one.quoted) > 0;
        UPDATE nightreel.backfill_shards SET detail = replace(detail, one.uri, 'erased:' || its_id)
        WHERE strpos(detail, one.uri) > 0;
        UPDATE nightreel.backfills SET plan = replace(plan::text, one.quoted, 'erased:' || its_id)::jsonb
        WHERE strpos(plan::text, one.quoted) > 0;
        UPDATE nightreel.requests
        SET detail = replace(detail::text, one.quoted, 'erased:' || its_id)::jsonb,
            outcome = replace(outcome, one.uri, 'erased:' || its_id)
        WHERE strpos(detail::text, one.quoted) > 0 OR strpos(outcome, one.uri) > 0;
        IF EXISTS (SELECT FROM nightreel.videos WHERE uri = one.uri AND id <> ALL (its_videos)) THEN
            CONTINUE;  -- another version of the object stays
        END IF;
        -- The bound moves to the key before it, which is in the same shard, or to the start of the shard.
        UPDATE nightreel.backfill_shards AS shard
        SET after_uri = CASE WHEN after_uri = one.uri THEN moved.uri ELSE after_uri END,
            up_to_uri = CASE WHEN up_to_uri = one.uri THEN moved.uri ELSE up_to_uri END
        FROM (
            SELECT shard.backfill_id, greatest(
                       shard.after_uri,
                       (SELECT max(video.uri) FROM nightreel.videos AS video
                        WHERE video.uri < one.uri AND video.uri > shard.after_uri AND video.id <> ALL (its_videos))
                   ) AS uri
            FROM nightreel.backfill_shards AS shard WHERE shard.up_to_uri = one.uri
        ) AS moved
        WHERE shard.backfill_id = moved.backfill_id AND one.uri IN (shard.after_uri, shard.up_to_uri);
    END LOOP;
    UPDATE nightreel.legal_holds SET uri = NULL, content_sha256 = NULL, reason = NULL
    WHERE removed_at IS NOT NULL AND (uri = ANY (its_uris) OR content_sha256 = ANY (its_contents));

    DELETE FROM nightreel.videos WHERE id = ANY (its_videos);
    GET DIAGNOSTICS number = ROW_COUNT;
    done := done || jsonb_build_object(
        'videos', number, 'contents', cardinality(its_contents), 'cases', cardinality(its_cases)
    );
    INSERT INTO nightreel.tombstones (mac, key_id, erasure_id)
    SELECT decode(mac, 'hex'), decode(request ->> 'key_id', 'hex'), its_id
    FROM (
        SELECT jsonb_array_elements_text(request -> 'macs') AS mac
        UNION
        SELECT value FROM jsonb_each_text(request -> 'content_macs') WHERE key = ANY (its_contents)
    ) AS given
    ON CONFLICT DO NOTHING;
    UPDATE nightreel.erasures SET counts = done WHERE id = its_id;
    RETURN done || jsonb_build_object('erasure', its_id);
END
$$;
-- What was erased: when, by whom, why and how much. What it was is not known any more.
CREATE OR REPLACE VIEW reporting.erasures AS
SELECT id AS erasure_id, kind, made_by, reason, erased_at, counts
FROM nightreel.erasures;
