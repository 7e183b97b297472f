-- A video's answer combines those of its segments: yes_no is "yes" if any segment's is; choice is the most frequent,
-- number the largest, tags the union, captions and texts are joined in order of time. "no", the number 0 and no tag at
-- all need that every segment says so and that enough of the whole video was seen; else the answer is unknown. A segment
-- that was seen in part counts with the seconds that were seen.
CREATE OR REPLACE VIEW reporting.video_answers AS
SELECT combined.video_id,
       combined.uri,
       combined.prompt_set,
       combined.prompt,
       combined.kind,
       combined.answer,
       combined.max_p,
       combined.flagged,
       combined.needs_review,
       combined.first_flagged_s,
       combined.segments,
       combined.unknown,
       combined.errors,
       CASE WHEN combined.answer IS NOT NULL THEN 'answered'
            WHEN combined.errors > 0 THEN 'error'
            ELSE 'unknown'
       END AS state,
       CASE WHEN combined.answer IS NOT NULL THEN NULL
            WHEN combined.little_seen THEN nightreel.saw(combined.covered_s, combined.expected_s)
            ELSE combined.not_answered || ' of ' || combined.segments || ' segments have no answer'
       END AS reason,
       combined.covered_s,
       combined.expected_s
FROM (
    SELECT grouped.*,
           CASE WHEN all_no THEN CASE WHEN NOT little_seen THEN no END
                WHEN kind = 'yes_no' THEN CASE WHEN any_yes THEN 'yes' END
                WHEN kind = 'choice' THEN most_frequent
                WHEN kind = 'number' THEN CASE WHEN largest <> 0 OR not_answered = 0 THEN largest::text END
                WHEN kind = 'tags' THEN (SELECT string_agg(DISTINCT tag, ', ' ORDER BY tag)
                                         FROM unnest(string_to_array(tags, ', ')) AS tag)
                ELSE told
           END AS answer
    FROM (
        SELECT video_id,
               uri,
               set_name AS prompt_set,
               prompt,
               kind,
               CASE kind WHEN 'yes_no' THEN 'no' WHEN 'number' THEN '0' WHEN 'tags' THEN '' END AS no,
               bool_and(nightreel.is_no(kind, value)) AS all_no,
               bool_or(text = 'yes') AS any_yes,
               mode() WITHIN GROUP (ORDER BY text) AS most_frequent,
               max(CASE WHEN kind = 'number' THEN value::text::numeric END) AS largest,
               string_agg(nullif(text, ''), ', ') AS tags,
               string_agg(text, ' ' ORDER BY start_s) AS told,
               max(p) AS max_p,
               bool_or(flagged) AS flagged,
               bool_or(flag IS NOT NULL AND (state <> 'answered' OR flagged OR little_seen OR little_of_video))
                   AS needs_review,
               min(start_s) FILTER (WHERE flagged) AS first_flagged_s,
               count(*) AS segments,
               count(*) FILTER (WHERE state = 'unknown' OR unproven) AS unknown,
               count(*) FILTER (WHERE state = 'error') AS errors,
               count(*) FILTER (WHERE state <> 'answered') AS not_answered,
               bool_and(little_of_video) AS little_seen,
               max(video_covered_s) AS covered_s,
               max(video_expected_s) AS expected_s
        FROM nightreel.newest_answers
        GROUP BY video_id, uri, set_name, prompt, kind
    ) AS grouped
) AS combined;
