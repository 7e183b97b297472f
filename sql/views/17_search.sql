-- The segments whose words are searched for, with the text that has them. docs/analysts.md has examples, docs/answers.md
-- the columns. Filters on verdict, severity, p, model and run hold for the verdict on show for `prompt`; without a prompt,
-- each of them for any verdict on show of the segment. A segment is in `from_s` to `to_s` if a part of it is.
--
-- It runs with the owner's rights, because a view of the words would tell analysts those of restricted videos (one
-- guess a query): it leaves these out, unless `restricted` is given and nightreel.sees_restricted allows it.
--
-- Only the newest 10,000 segments are ranked, and counted: `count_is_capped` says that there are more. A page goes on
-- after the last row of the page before it, with its `place` and `segment_id` as `after_place` and `after_segment`, and
-- `as_of` as it was: segments that are added in between are not on it.
CREATE OR REPLACE FUNCTION reporting.search(
    words text,
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
    newest boolean DEFAULT false,
    restricted boolean DEFAULT false,
    most integer DEFAULT 100,
    after_place float8 DEFAULT NULL,
    after_segment bigint DEFAULT NULL,
    as_of bigint DEFAULT NULL
)
RETURNS TABLE (
    video_id bigint, uri text, segment integer, start_s float8, end_s float8, rank float8, found_in text, said text,
    marks integer[], count integer, count_is_capped boolean, is_restricted boolean, segment_id bigint, place float8,
    newest_segment bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Starting workers takes longer than the work, and a merge reads the keys of all videos.
SET max_parallel_workers_per_gather = 0 SET enable_mergejoin = off AS $$
DECLARE
    most_counted CONSTANT integer := 10000;
    languages text[];
    wanted record;
    conditions text := '';
    of_video text := '';
    scopes text[] := ARRAY[''];
    tenths CONSTANT integer := floor(least(min_p, 1) * 10 + 1e-9);
    prompt_ids bigint[];
BEGIN
    SELECT one.languages INTO languages FROM nightreel.search_index AS one;
    SELECT * INTO wanted FROM nightreel.search_query(words, languages);
    IF wanted.query IS NULL THEN
        RETURN;
    END IF;
    as_of := coalesce(as_of, (SELECT max(one.segment_id) FROM nightreel.documents AS one));
    -- Each of these filters is a set of facts, one of which the segment has (sql/views/16_search_facts.sql).
    IF prompt IS NOT NULL THEN
        prompt_ids := ARRAY(
            SELECT one.id FROM nightreel.prompts AS one WHERE prompt IN (one.name, one.set_name || '/' || one.name)
        );
        scopes := prompt_ids::text[];
        conditions := conditions || ' AND document.facts && $6';
    END IF;
    IF verdict IS NOT NULL THEN
        conditions := conditions || ' AND document.facts && $7';
    END IF;
    IF min_severity IS NOT NULL THEN
        conditions := conditions || ' AND document.facts && $8';
    END IF;
    IF min_p >= 0.1 THEN
        conditions := conditions || ' AND document.facts && $9';
    END IF;
    IF min_p <> tenths / 10.0::float8 OR tenths = 0 THEN  -- facts have tenths: the verdicts tell the rest
        conditions := conditions || ' AND EXISTS (SELECT FROM nightreel.answers AS answer '
            || 'JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id AND verdict.shown AND verdict.due '
            || 'WHERE answer.segment_id = document.segment_id AND NOT answer.superseded AND answer.p >= $5'
            || CASE WHEN prompt IS NULL THEN '' ELSE ' AND verdict.prompt_id = ANY ($4)' END || ' OFFSET 0)';
    END IF;
    IF model IS NOT NULL THEN
        conditions := conditions || ' AND document.facts && $20';
    END IF;
    IF run IS NOT NULL THEN
        conditions := conditions || ' AND document.facts && $21';
    END IF;
    IF since IS NOT NULL THEN
        conditions := conditions || ' AND video.modified_at >= $10';
    END IF;
    IF until IS NOT NULL THEN
        conditions := conditions || ' AND video.modified_at < $11';
    END IF;
    IF under IS NOT NULL THEN
        conditions := conditions || ' AND starts_with(video.uri, $12)';
    END IF;
    IF min_duration_s IS NOT NULL THEN
        conditions := conditions || ' AND video.duration_s >= $13';
    END IF;
    IF max_duration_s IS NOT NULL THEN
        conditions := conditions || ' AND video.duration_s <= $14';
    END IF;
    IF num_nonnulls(from_s, to_s) > 0 THEN
        conditions := conditions || ' AND EXISTS (SELECT FROM nightreel.segments AS one WHERE one.id = document.segment_id '
            || 'AND ($23 IS NULL OR one.end_s > $23) AND ($24 IS NULL OR one.start_s < $24))';
    END IF;
    IF num_nonnulls(since, until, under, min_duration_s, max_duration_s) > 0 THEN
        of_video := 'JOIN nightreel.videos AS video ON video.id = document.video_id';
    END IF;
    IF NOT coalesce(restricted AND nightreel.sees_restricted(session_user), false) THEN
        conditions := conditions || ' AND NOT EXISTS '
            || '(SELECT FROM nightreel.videos AS one WHERE one.id = document.video_id AND one.restricted)';
    END IF;
    RETURN QUERY EXECUTE
        'WITH candidate AS MATERIALIZED (
             SELECT document.segment_id, document.video_id, document.terms
             FROM nightreel.documents AS document ' || of_video || '
             WHERE document.terms @@ $1 AND document.segment_id <= $18' || conditions || '
               AND NOT EXISTS (
                   SELECT FROM nightreel.videos AS old WHERE old.id = document.video_id AND old.replaced_at IS NOT NULL
               )
             ORDER BY document.segment_id DESC
             LIMIT $15 + 1
         ), counted AS (
             SELECT least(count(*), $15)::integer AS count, count(*) > $15 AS is_capped FROM candidate
         ), ranked AS (
             SELECT segment_id, ts_rank(terms, $1, 1)::float8 AS rank, video_id
             FROM (SELECT * FROM candidate ORDER BY segment_id DESC LIMIT $15) AS newest
         ), placed AS (
             SELECT segment_id, rank, ' || CASE WHEN newest THEN 'video_id::float8' ELSE 'rank' END || ' AS place
             FROM ranked
         ), page AS (
             SELECT * FROM placed
             WHERE $17 IS NULL OR place < $16 OR place = $16 AND segment_id > $17
             ORDER BY place DESC, segment_id LIMIT $19
         )
         SELECT video.id, video.uri, segment.index, segment.start_s, segment.end_s, page.rank, best.name, best.said,
                best.marks, counted.count, counted.is_capped,
                video.restricted,
                segment.id, page.place, $18
         FROM page
         CROSS JOIN counted
         JOIN nightreel.segments AS segment ON segment.id = page.segment_id
         JOIN nightreel.videos AS video ON video.id = segment.video_id
         LEFT JOIN LATERAL (
             SELECT text.name, text.said, marked.marks
             FROM (
                 SELECT prompt.id, prompt.name, question.kind,
                        left(nightreel.words_of(question.kind, verdict.value, coalesce(verdict.text, answer.text)), 20000)
                            AS said
                 FROM nightreel.answers AS answer
                 JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id AND verdict.shown AND verdict.due
                 JOIN nightreel.prompts AS prompt ON prompt.id = verdict.prompt_id
                 JOIN nightreel.questions AS question ON question.id = answer.question_id
                 WHERE answer.segment_id = segment.id AND NOT answer.superseded AND verdict.state = ''answered''
                   AND question.kind IN (''caption'', ''text'', ''tags'', ''choice'', ''keywords'', ''object'')
             ) AS text
             CROSS JOIN LATERAL (SELECT nightreel.marks(text.said, $2, $3, $22) AS marks) AS marked
             ORDER BY coalesce(text.id = ANY ($4), false) AND marked.marks IS NOT NULL DESC,
                      coalesce(array_length(marked.marks, 1), 0) DESC, text.kind IN (''caption'', ''text'') DESC, text.id
             LIMIT 1
         ) AS best ON true
         ORDER BY page.place DESC, page.segment_id'
    USING wanted.query, wanted.terms, wanted.prefixes, prompt_ids, min_p,
          ARRAY(SELECT 'p:' || id FROM unnest(prompt_ids) AS id),
          ARRAY(SELECT 'v:' || scope || ':' || left(verdict, 100) FROM unnest(scopes) AS scope),
          ARRAY(SELECT 's:' || scope || ':' || min_severity FROM unnest(scopes) AS scope),
          ARRAY(SELECT 'q:' || scope || ':' || tenths FROM unnest(scopes) AS scope),
          since, until, under, min_duration_s, max_duration_s, most_counted, after_place, after_segment, as_of,
          least(greatest(coalesce(most, 100), 0), 1001),
          ARRAY(
              SELECT 'm:' || scope || ':' || one.id FROM nightreel.models AS one, unnest(scopes) AS scope
              WHERE one.name = model
          ),
          ARRAY(SELECT 'r:' || scope || ':' || run FROM unnest(scopes) AS scope),
          languages, from_s, to_s;
END
$$;

-- How a search is read: the terms that it looks for; null if it has no word to search for.
CREATE OR REPLACE FUNCTION reporting.search_reads(words text)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT made.query::text
    FROM nightreel.search_index AS one, nightreel.search_query(words, one.languages) AS made
$$;
