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
    filter record;
BEGIN
    SELECT one.languages INTO languages FROM nightreel.search_index AS one;
    SELECT * INTO wanted FROM nightreel.search_query(words, languages);
    IF wanted.query IS NULL THEN
        RETURN;
    END IF;
    as_of := coalesce(as_of, (SELECT max(one.segment_id) FROM nightreel.documents AS one));
    SELECT * INTO filter FROM nightreel.search_filter(
        prompt, verdict, min_severity, min_p, since, until, under, min_duration_s, max_duration_s, from_s, to_s, model, run,
        restricted
    );
    RETURN QUERY EXECUTE
        'WITH candidate AS MATERIALIZED (
             SELECT document.segment_id, document.video_id, document.terms
             FROM nightreel.documents AS document ' || filter.of_video || '
             WHERE document.terms @@ $1 AND document.segment_id <= $8' || filter.conditions || '
             ORDER BY document.segment_id DESC
             LIMIT $5 + 1
         ), counted AS (
             SELECT least(count(*), $5)::integer AS count, count(*) > $5 AS is_capped FROM candidate
         ), ranked AS (
             SELECT segment_id, ts_rank(terms, $1, 1)::float8 AS rank, video_id
             FROM (SELECT * FROM candidate ORDER BY segment_id DESC LIMIT $5) AS newest
         ), placed AS (
             SELECT segment_id, rank, ' || CASE WHEN newest THEN 'video_id::float8' ELSE 'rank' END || ' AS place
             FROM ranked
         ), page AS (
             SELECT * FROM placed
             WHERE $7 IS NULL OR place < $6 OR place = $6 AND segment_id > $7
             ORDER BY place DESC, segment_id LIMIT $9
         )
         SELECT video.id, video.uri, segment.index, segment.start_s, segment.end_s, page.rank, best.found_in, best.said,
                best.marks, counted.count, counted.is_capped,
                video.restricted,
                segment.id, page.place, $8
         FROM page
         CROSS JOIN counted
         JOIN nightreel.segments AS segment ON segment.id = page.segment_id
         JOIN nightreel.videos AS video ON video.id = segment.video_id
         LEFT JOIN LATERAL nightreel.search_text(segment.id, $4, $2, $3, $10) AS best ON true
         ORDER BY page.place DESC, page.segment_id'
    USING wanted.query, wanted.terms, wanted.prefixes, filter.prompt_ids, most_counted, after_place, after_segment, as_of,
          least(greatest(coalesce(most, 100), 0), 1001), languages;
END
$$;

-- How a search is read: the terms that it looks for; null if it has no word to search for.
CREATE OR REPLACE FUNCTION reporting.search_reads(words text)
RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT made.query::text
    FROM nightreel.search_index AS one, nightreel.search_query(words, one.languages) AS made
$$;
