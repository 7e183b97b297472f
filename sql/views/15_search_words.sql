-- From a text to the terms that search finds, and from what a person types to a query of these terms. Both go through
-- the functions below, and through nothing that depends on the locale of a server.
--
-- A term is a word without accents and capitals, or `=` and the stem of a word if the stem is another word. Scripts
-- without spaces between words have no words here: each of their characters makes a term with the next one (a pair), and
-- the last one of a row makes a term alone. So any part of a text is found, as a phrase of pairs.

-- Characters of scripts that are searched by their parts: Chinese, Japanese, Korean, Thai, Lao, Tibetan, Burmese, Khmer.
CREATE OR REPLACE FUNCTION nightreel.wide_characters() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3021-\u302f\u3031-\u303c'
        || '\u3041-\u30fa\u30fc-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f'
        || '\U00020000-\U0003ffff'
$$;

-- Characters between words: punctuation, symbols, spaces, controls. Not U+001F, which stands between two texts.
CREATE OR REPLACE FUNCTION nightreel.separators() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '\u0001-\u001e\u0020-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf'
        || '\u00d7\u00f7\u055a-\u055f\u060c\u061b\u061f\u0640\u06d4\u0964\u0965\u1680\u2000-\u206f\u20a0-\u20cf'
        || '\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u303d-\u3040\u30fb\ue000-\uf8ff\ufe10-\ufe1f'
        || '\ufe30-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufff0-\uffff\U0001f000-\U0001faff'
$$;

-- Small letters of all scripts. In the locale `C`, `lower` knows ASCII alone, so it takes a collation that knows them.
DO $$
DECLARE
    name text;
BEGIN
    SELECT quote_ident(collname) INTO name FROM pg_collation
    WHERE collnamespace = 'pg_catalog'::regnamespace AND collencoding IN (-1, pg_char_to_encoding('UTF8'))
      AND collname IN ('pg_c_utf8', 'und-x-icu', 'C.utf8', 'C.UTF-8', 'default')
    ORDER BY array_position(ARRAY['pg_c_utf8', 'und-x-icu', 'C.utf8', 'C.UTF-8', 'default'], collname::text) LIMIT 1;
    EXECUTE 'CREATE OR REPLACE FUNCTION nightreel.small_letters(said text) RETURNS text '
         || 'LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS ''SELECT lower(said COLLATE pg_catalog.' || name || ')''';
END
$$;

-- A text without accents and capitals, in one width: "Ärger ＡＢＣ" becomes "arger abc". The marks of Japanese letters stay.
CREATE OR REPLACE FUNCTION nightreel.folded(said text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT translate(replace(replace(replace(nightreel.small_letters(normalize(regexp_replace(
        normalize(said, NFKD), '[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]', '', 'g'
    ), NFC)), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'øłđð', 'oldd')
$$;

-- The words and pairs of a text, with their places and the characters that they take: from `starts`, before `ends`.
-- `wide`: of a script that is searched by its parts; `pair`: with the next character.
CREATE OR REPLACE FUNCTION nightreel.tokens(said text)
RETURNS TABLE (place integer, starts integer, ends integer, word text, wide boolean, pair boolean)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT place, (reached - size)::integer, (reached + CASE WHEN pair THEN 1 ELSE 0 END)::integer, word, wide, pair
    FROM (
        SELECT (count(*) FILTER (WHERE part[3] IS NULL) OVER row)::integer AS place,
               length(coalesce(part[1], part[2], part[3], ' ')) AS size,
               sum(length(coalesce(part[1], part[2], part[3], ' '))) OVER row AS reached,
               coalesce(part[1] || lead(part[1]) OVER row, part[1], part[2]) AS word,
               part[1] IS NOT NULL AS wide,
               part[1] IS NOT NULL AND lead(part[1]) OVER row IS NOT NULL AS pair
        FROM regexp_matches(
            said,
            '([' || nightreel.wide_characters() || '])|([^\u001f' || nightreel.wide_characters() || nightreel.separators()
                 || ']+)|([' || nightreel.separators() || ']+)|\u001f',
            'g'
        ) WITH ORDINALITY AS found (part, number)
        WINDOW row AS (ORDER BY number)
    ) AS parts
    WHERE word IS NOT NULL
$$;

-- The stems of a folded word in these languages: names of Postgres's dictionaries without `_stem`. A stop word has none.
CREATE OR REPLACE FUNCTION nightreel.stems(word text, languages text[]) RETURNS SETOF text
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT DISTINCT stem FROM unnest(languages) AS language,
           unnest(ts_lexize((language || '_stem')::regdictionary, word)) AS stem
$$;

-- The words of an answer: of an object, the texts in it, without the names of its fields.
CREATE OR REPLACE FUNCTION nightreel.words_of(kind text, value jsonb, said text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN kind = 'object' THEN (
        SELECT string_agg(found #>> '{}', ', ')
        FROM jsonb_path_query(value, 'strict $.** ? (@.type() == "string")') AS found
    ) ELSE said END
$$;

-- The terms of a text, all of one weight: A, B, C or D. Its first 20,000 characters count: a tsvector has a limit of
-- 1 MB. Places begin at 2, so that no phrase goes from one text to the next.
CREATE OR REPLACE FUNCTION nightreel.terms(said text, weight text, languages text[]) RETURNS tsvector
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(string_agg(
        '''' || replace(replace(left(term, 100), '\', '\\'), '''', '''''') || ''':' || least(place + 1, 16383) || weight, ' '
    ), '')::tsvector
    FROM nightreel.tokens(nightreel.folded(left(said, 20000))) AS token
    CROSS JOIN LATERAL (
        SELECT token.word AS term
        UNION ALL
        SELECT '=' || stem FROM nightreel.stems(token.word, languages) AS stem
        WHERE NOT token.wide AND stem <> token.word
    ) AS made
$$;

-- A word or several that must stand in a row, as a query; null if there is no word. `terms` and `prefixes`: what it
-- finds, to mark it. `is_stop`: it is one word that a language does not search for, as "the".
CREATE OR REPLACE FUNCTION nightreel.phrase_query(
    said text, exact boolean, begins boolean, languages text[],
    OUT query tsquery, OUT terms text[], OUT prefixes text[], OUT is_stop boolean
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    token record;
    one text;
    part text;
    forms text[];
    place integer;
    after_pair boolean := false;
BEGIN
    terms := '{}';
    prefixes := '{}';
    is_stop := false;
    FOR token IN
        SELECT found.*, count(*) OVER () = row_number() OVER (ORDER BY found.place) AS is_last, count(*) OVER () AS words
        FROM nightreel.tokens(nightreel.folded(said)) AS found ORDER BY found.place
    LOOP
        IF token.wide AND NOT token.pair AND after_pair THEN  -- the pair before it has it
            after_pair := false;
            CONTINUE;
        END IF;
        after_pair := token.pair;
        one := left(token.word, 100);
        IF token.wide AND NOT token.pair OR begins AND token.is_last AND NOT token.wide AND length(one) > 1 THEN
            prefixes := prefixes || one;
            part := '''' || replace(replace(one, '\', '\\'), '''', '''''') || ''':*';
        ELSE
            forms := ARRAY[one];
            IF NOT exact AND NOT token.wide THEN
                forms := forms || ARRAY(SELECT unnest(ARRAY[stem, '=' || stem]) FROM nightreel.stems(one, languages) AS stem);
                is_stop := token.words = 1 AND (
                    SELECT coalesce(bool_or(ts_lexize((language || '_stem')::regdictionary, one) = '{}'), false)
                    FROM unnest(languages) AS language
                );
            END IF;
            terms := terms || forms;
            SELECT string_agg('''' || replace(replace(left(form, 100), '\', '\\'), '''', '''''') || '''', ' | ')
            INTO part FROM unnest(forms) AS form;
        END IF;
        query := CASE WHEN query IS NULL THEN part::tsquery ELSE tsquery_phrase(query, part::tsquery, token.place - place) END;
        place := token.place;
    END LOOP;
END
$$;

-- What a person types, as a query; null if nothing is left to search for. Words are all wanted, "words in quotes" in a
-- row and exactly so, `one OR other`, `-without`, `begin*`. `OR` binds its two neighbours. The first 500 characters count.
CREATE OR REPLACE FUNCTION nightreel.search_query(
    words text, languages text[], OUT query tsquery, OUT terms text[], OUT prefixes text[]
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    item record;
    made record;
    choice tsquery;
    stops tsquery;
    stop_words text[] := '{}';
    unwanted tsquery;
    either boolean := false;
BEGIN
    terms := '{}';
    prefixes := '{}';
    FOR item IN
        SELECT part[1] = '-' AS is_minus, part[2] AS quoted, part[3] AS bare
        FROM regexp_matches(
            translate(normalize(left(words, 500), NFKC), '“”„', '"""'), '(-?)(?:"([^"]*)(?:"|$)|([^\s"]+))', 'g'
        ) WITH ORDINALITY AS found (part, number)
        ORDER BY number
    LOOP
        IF item.bare = 'OR' AND NOT item.is_minus THEN
            either := choice IS NOT NULL;
            CONTINUE;
        END IF;
        SELECT * INTO made FROM nightreel.phrase_query(
            coalesce(item.quoted, item.bare), item.quoted IS NOT NULL, right(item.bare, 1) IS NOT DISTINCT FROM '*', languages
        );
        IF made.query IS NULL THEN
            CONTINUE;
        END IF;
        IF item.is_minus THEN
            unwanted := coalesce(unwanted || made.query, made.query);
        ELSIF made.is_stop THEN
            stops := coalesce(stops && made.query, made.query);
            stop_words := stop_words || made.terms;
        ELSE
            terms := terms || made.terms;
            prefixes := prefixes || made.prefixes;
            IF either THEN
                choice := choice || made.query;
            ELSE
                query := coalesce(query && choice, choice);
                choice := made.query;
            END IF;
        END IF;
        either := false;
    END LOOP;
    query := coalesce(query && choice, choice);
    IF query IS NULL THEN
        query := stops;
        terms := stop_words;
    END IF;
    query := coalesce(query && !!unwanted, query);
END
$$;

-- The places in a text that terms and prefixes find: pairs of its first character and the one after its last.
CREATE OR REPLACE FUNCTION nightreel.marks(said text, terms text[], prefixes text[], languages text[]) RETURNS integer[]
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT array_agg(
        ARRAY[token.starts, CASE WHEN token.pair AND made.word <> ALL (terms) THEN token.starts + 1 ELSE token.ends END]
        ORDER BY token.place
    )
    FROM nightreel.tokens(left(said, 20000)) AS token
    CROSS JOIN LATERAL (SELECT left(nightreel.folded(token.word), 100) AS word) AS made
    WHERE made.word = ANY (terms)
       OR EXISTS (SELECT FROM unnest(prefixes) AS prefix WHERE starts_with(made.word, prefix))
       OR NOT token.wide AND EXISTS (SELECT FROM nightreel.stems(made.word, languages) AS stem WHERE '=' || stem = ANY (terms))
$$;
