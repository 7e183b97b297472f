-- A video's answer combines those of its segments: yes_no is "yes" if any segment's is, and "no" only if all are
-- answered and none is "yes"; choice is the most frequent, number the largest, tags the union, captions and texts are
-- joined in order of time.
CREATE OR REPLACE VIEW reporting.video_answers AS
SELECT video_id,
       uri,
       prompt_set,
       prompt,
       kind,
       CASE kind
           WHEN 'yes_no' THEN CASE WHEN bool_or(answer = 'yes') THEN 'yes'
                                   WHEN bool_and(state = 'answered') THEN 'no' END
           WHEN 'choice' THEN mode() WITHIN GROUP (ORDER BY answer)
           WHEN 'number' THEN max(CASE WHEN kind = 'number' THEN value::text::numeric END)::text
           WHEN 'tags' THEN (SELECT string_agg(DISTINCT tag, ', ' ORDER BY tag)
                             FROM unnest(string_to_array(string_agg(nullif(answer, ''), ', '), ', ')) AS tag)
           ELSE string_agg(answer, ' ' ORDER BY start_s)
       END AS answer,
       max(p) AS max_p,
       bool_or(flagged) AS flagged,
       bool_or(needs_review) AS needs_review,
       min(start_s) FILTER (WHERE flagged) AS first_flagged_s,
       count(*) AS segments,
       count(*) FILTER (WHERE state = 'unknown') AS unknown,
       count(*) FILTER (WHERE state = 'error') AS errors
FROM reporting.answers
GROUP BY video_id, uri, prompt_set, prompt, kind;
