-- What filters of search ask, as words in an index. So a filter costs the same as a word of the search.
--
--     p:7            there is a verdict for prompt 7
--     v:7:yes        its verdict is `yes`: an answer, a tag, a choice, `unknown`, `error`, or `flagged`
--     s:7:3          its severity is 3 or worse
--     q:7:9          its p is 0.9 or more
--     m:7:2, r:7:40  its answer is of model 2, of run 40
--
-- Without the number of a prompt, as in `v::yes`, it holds for any prompt.
--
-- It has an array for the tags and a list of all levels, because Postgres expects 100 rows of jsonb_array_elements_text and
-- 1,000 of generate_series to a variable. For so many rows it would compile the statement that indexes documents (JIT), in
-- 70 ms at each call.
CREATE OR REPLACE FUNCTION nightreel.facts(
    prompt_id bigint, kind text, state text, said text, value jsonb, flagged boolean, severity integer, p float8,
    model_id bigint, run_id bigint
) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT letter || ':' || scope || ':' || fact
    FROM (VALUES (''), (prompt_id::text)) AS scopes (scope)
    CROSS JOIN (
        SELECT 'v' AS letter, left(one, 100) AS fact
        FROM unnest(ARRAY[
            CASE WHEN flagged THEN 'flagged' END,
            CASE WHEN state <> 'answered' THEN state WHEN kind <> 'tags' AND NOT nightreel.is_free_text(kind) THEN said END
        ]) AS one
        WHERE one IS NOT NULL
        UNION ALL
        SELECT 'v', left(tag, 100)
        FROM unnest(ARRAY(
            SELECT jsonb_array_elements_text(CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE '[]' END)
        )) AS tag
        WHERE state = 'answered'
        UNION ALL
        SELECT 's', level::text FROM (VALUES (1), (2), (3), (4)) AS levels (level) WHERE level <= severity
        UNION ALL
        SELECT 'm', model_id::text
        UNION ALL
        SELECT 'r', run_id::text
        UNION ALL
        SELECT 'q', tenth::text FROM generate_series(1, 10) AS tenth WHERE p >= tenth / 10.0::float8
    ) AS found
    UNION ALL
    SELECT 'p:' || prompt_id
$$;

-- The condition that `document` has one of these facts.
CREATE OR REPLACE FUNCTION nightreel.any_fact(wanted text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ' AND document.facts && ' || quote_literal(wanted::text) || '::text[]'
$$;

-- The conditions of a search's filters on `document`, and on `video` where `of_video` joins it. Videos whose object was
-- overwritten are left out, and restricted ones, unless `restricted` is given and nightreel.sees_restricted allows it.
-- `prompt_ids`: the prompts that `prompt` names; null without one.
CREATE OR REPLACE FUNCTION nightreel.search_filter(
    prompt text, verdict text, min_severity integer, min_p float8, since timestamptz, until timestamptz, under text,
    min_duration_s float8, max_duration_s float8, from_s float8, to_s float8, model text, run bigint,
    restricted boolean,
    OUT conditions text, OUT of_video text, OUT prompt_ids bigint[]
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    scopes text[] := ARRAY[''];
    tenths CONSTANT integer := floor(least(min_p, 1) * 10 + 1e-9);
BEGIN
    conditions := ' AND NOT EXISTS (SELECT FROM nightreel.videos AS old '
        || 'WHERE old.id = document.video_id AND old.replaced_at IS NOT NULL)';
    of_video := '';
    IF prompt IS NOT NULL THEN
        prompt_ids := ARRAY(
            SELECT one.id FROM nightreel.prompts AS one WHERE prompt IN (one.name, one.set_name || '/' || one.name)
        );
        scopes := prompt_ids::text[];
        conditions := conditions || nightreel.any_fact(ARRAY(SELECT 'p:' || id FROM unnest(prompt_ids) AS id));
    END IF;
    IF verdict IS NOT NULL THEN
        conditions := conditions
            || nightreel.any_fact(ARRAY(SELECT 'v:' || scope || ':' || left(verdict, 100) FROM unnest(scopes) AS scope));
    END IF;
    IF min_severity IS NOT NULL THEN
        conditions := conditions
            || nightreel.any_fact(ARRAY(SELECT 's:' || scope || ':' || min_severity FROM unnest(scopes) AS scope));
    END IF;
    IF min_p >= 0.1 THEN
        conditions := conditions
            || nightreel.any_fact(ARRAY(SELECT 'q:' || scope || ':' || tenths FROM unnest(scopes) AS scope));
    END IF;
    IF min_p <> tenths / 10.0::float8 OR tenths = 0 THEN  -- facts have tenths: the verdicts tell the rest
        conditions := conditions || ' AND EXISTS (SELECT FROM nightreel.answers AS answer '
            || 'JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id AND verdict.shown AND verdict.due '
            || 'WHERE answer.segment_id = document.segment_id AND NOT answer.superseded AND answer.p >= '
            || quote_literal(min_p) || '::float8'
            || CASE WHEN prompt IS NULL THEN '' ELSE ' AND verdict.prompt_id = ANY ('
                || quote_literal(prompt_ids::text) || '::bigint[])' END || ' OFFSET 0)';
    END IF;
    IF model IS NOT NULL THEN
        conditions := conditions || nightreel.any_fact(ARRAY(
            SELECT 'm:' || scope || ':' || one.id FROM nightreel.models AS one, unnest(scopes) AS scope
            WHERE one.name = model
        ));
    END IF;
    IF run IS NOT NULL THEN
        conditions := conditions
            || nightreel.any_fact(ARRAY(SELECT 'r:' || scope || ':' || run FROM unnest(scopes) AS scope));
    END IF;
    IF since IS NOT NULL THEN
        conditions := conditions || ' AND video.modified_at >= ' || quote_literal(since) || '::timestamptz';
    END IF;
    IF until IS NOT NULL THEN
        conditions := conditions || ' AND video.modified_at < ' || quote_literal(until) || '::timestamptz';
    END IF;
    IF under IS NOT NULL THEN
        conditions := conditions || ' AND starts_with(video.uri, ' || quote_literal(under) || ')';
    END IF;
    IF min_duration_s IS NOT NULL THEN
        conditions := conditions || ' AND video.duration_s >= ' || quote_literal(min_duration_s) || '::float8';
    END IF;
    IF max_duration_s IS NOT NULL THEN
        conditions := conditions || ' AND video.duration_s <= ' || quote_literal(max_duration_s) || '::float8';
    END IF;
    IF num_nonnulls(from_s, to_s) > 0 THEN
        conditions := conditions || ' AND EXISTS (SELECT FROM nightreel.segments AS one WHERE one.id = document.segment_id'
            || coalesce(' AND one.end_s > ' || quote_literal(from_s) || '::float8', '')
            || coalesce(' AND one.start_s < ' || quote_literal(to_s) || '::float8', '') || ')';
    END IF;
    IF num_nonnulls(since, until, under, min_duration_s, max_duration_s) > 0 THEN
        of_video := 'JOIN nightreel.videos AS video ON video.id = document.video_id';
    END IF;
    IF NOT coalesce(restricted AND nightreel.sees_restricted(session_user), false) THEN
        conditions := conditions || ' AND NOT EXISTS '
            || '(SELECT FROM nightreel.videos AS one WHERE one.id = document.video_id AND one.restricted)';
    END IF;
END
$$;

-- The text that is shown for a segment: of `prompt_ids` if one is given and has a mark, else the one with the most marks.
-- Without terms, there are no marks. Texts about the whole video count for the first segment that has a document.
CREATE OR REPLACE FUNCTION nightreel.search_text(
    segment_id bigint, prompt_ids bigint[], terms text[], prefixes text[], languages text[]
) RETURNS TABLE (found_in text, said text, marks integer[]) LANGUAGE sql STABLE AS $$
    SELECT text.name, text.said, marked.marks
    FROM (
        SELECT prompt.id, prompt.name, question.kind, left(nightreel.words_of(question.kind, one.value, one.said), 20000) AS said
        FROM (
            SELECT verdict.prompt_id, verdict.value, coalesce(verdict.text, answer.text) AS said
            FROM nightreel.answers AS answer
            JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id AND verdict.shown AND verdict.due
            WHERE answer.segment_id = search_text.segment_id AND NOT answer.superseded AND verdict.state = 'answered'
            UNION ALL
            SELECT verdict.prompt_id, verdict.value, coalesce(verdict.text, whole.text)
            FROM nightreel.segments AS segment
            JOIN nightreel.video_verdicts AS verdict ON verdict.video_id = segment.video_id
            JOIN nightreel.whole_answers AS whole ON whole.id = verdict.whole_answer_id AND NOT whole.superseded
            WHERE segment.id = search_text.segment_id AND verdict.state = 'answered'
              AND NOT EXISTS (SELECT FROM nightreel.documents AS before
                              WHERE before.video_id = segment.video_id AND before.segment_id < segment.id)
        ) AS one
        JOIN nightreel.prompts AS prompt ON prompt.id = one.prompt_id
        JOIN nightreel.questions AS question ON question.id = prompt.question_id
        WHERE question.kind IN ('caption', 'text', 'tags', 'choice', 'keywords', 'object')
    ) AS text
    CROSS JOIN LATERAL (
        SELECT CASE WHEN terms IS NOT NULL THEN nightreel.marks(text.said, terms, prefixes, languages) END AS marks
    ) AS marked
    ORDER BY coalesce(text.id = ANY (prompt_ids), false) AND marked.marks IS NOT NULL DESC,
             coalesce(array_length(marked.marks, 1), 0) DESC, text.kind IN ('caption', 'text') DESC, text.id
    LIMIT 1
$$;
