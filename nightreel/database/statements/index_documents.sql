-- Makes the documents of these videos' segments from the answers on show, and deletes those of segments without any.
WITH said AS MATERIALIZED (
    SELECT segment.id AS segment_id,
           segment.video_id,
           string_agg(verdict.text, chr(31) ORDER BY verdict.prompt_id) FILTER (WHERE question.kind IN ('tags', 'choice'))
               AS tags,
           string_agg(answer.text, chr(31) ORDER BY verdict.prompt_id) FILTER (WHERE question.kind = 'caption')
               AS captions,
           string_agg(answer.text, chr(31) ORDER BY verdict.prompt_id) FILTER (WHERE question.kind = 'text') AS texts
    FROM nightreel.segments AS segment
    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
    JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id
    JOIN nightreel.questions AS question ON question.id = answer.question_id
    WHERE segment.video_id = ANY (CAST(:video_ids AS bigint[]))
      AND verdict.shown AND verdict.due AND verdict.state = 'answered'
      AND question.kind IN ('tags', 'choice', 'caption', 'text')
    GROUP BY segment.id
), deleted AS (
    DELETE FROM nightreel.documents AS document
    WHERE document.video_id = ANY (CAST(:video_ids AS bigint[]))
      AND NOT EXISTS (SELECT FROM said WHERE said.segment_id = document.segment_id)
)
INSERT INTO nightreel.documents AS document (segment_id, video_id, terms)
SELECT said.segment_id,
       said.video_id,
       nightreel.terms(said.tags, 'A', one.languages) || nightreel.terms(said.captions, 'B', one.languages)
           || nightreel.terms(said.texts, 'C', one.languages)
FROM said CROSS JOIN nightreel.search_index AS one
ORDER BY said.segment_id
ON CONFLICT (segment_id) DO UPDATE SET terms = excluded.terms, updated_at = now()
WHERE document.terms IS DISTINCT FROM excluded.terms
