-- What filters of search ask, as words in an index. So a filter costs the same as a word of the search.
--
--     p:7            there is a verdict for prompt 7
--     v:7:yes        its verdict is `yes`: an answer, a tag, a choice, `unknown`, `error`, or `flagged`
--     s:7:3          its severity is 3 or worse
--     q:7:9          its p is 0.9 or more
--     m:7:2, r:7:40  its answer is of model 2, of run 40
--
-- Without the number of a prompt, as in `v::yes`, it holds for any prompt.
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
        FROM jsonb_array_elements_text(CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE '[]' END) AS tag
        WHERE state = 'answered'
        UNION ALL
        SELECT 's', level::text FROM generate_series(1, severity) AS level
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
