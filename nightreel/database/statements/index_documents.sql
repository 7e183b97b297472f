-- Makes the documents of these videos' segments from the answers on show, and deletes those of segments without any. Answers
-- about the whole video are in the document of its first segment.
WITH of_segments AS MATERIALIZED (
    SELECT segment.id AS segment_id, segment.video_id, question.kind, verdict.prompt_id, verdict.state,
           nightreel.words_of(question.kind, verdict.value, coalesce(verdict.text, answer.text)) AS said,
           verdict.value, verdict.flagged, verdict.severity, answer.p, answer.model_id, answer.run_id
    FROM nightreel.segments AS segment
    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id AND NOT answer.superseded  -- as their index
    JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id
    JOIN nightreel.questions AS question ON question.id = answer.question_id
    WHERE segment.video_id = ANY (CAST(:video_ids AS bigint[])) AND verdict.shown AND verdict.due
), shown AS MATERIALIZED (
    SELECT * FROM of_segments
    UNION ALL
    SELECT first.segment_id, first.video_id, question.kind, verdict.prompt_id, verdict.state,
           nightreel.words_of(question.kind, verdict.value, coalesce(verdict.text, whole.text)) AS said,
           verdict.value, verdict.flagged, verdict.severity, whole.p, whole.model_id, whole.run_id
    FROM (SELECT video_id, min(segment_id) AS segment_id FROM of_segments GROUP BY video_id) AS first
    JOIN nightreel.video_verdicts AS verdict ON verdict.video_id = first.video_id
    JOIN nightreel.whole_answers AS whole ON whole.id = verdict.whole_answer_id AND NOT whole.superseded
    JOIN nightreel.questions AS question ON question.id = whole.question_id
), said AS MATERIALIZED (
    SELECT segment_id,
           video_id,
           string_agg(said, chr(31) ORDER BY prompt_id) FILTER (WHERE kind IN ('tags', 'choice', 'keywords')) AS tags,
           string_agg(said, chr(31) ORDER BY prompt_id) FILTER (WHERE kind = 'caption') AS captions,
           string_agg(said, chr(31) ORDER BY prompt_id) FILTER (WHERE kind IN ('text', 'object')) AS texts
    FROM shown
    WHERE state = 'answered' AND kind IN ('tags', 'choice', 'keywords', 'caption', 'text', 'object')
    GROUP BY segment_id, video_id
), known AS (
    SELECT shown.segment_id, array_agg(DISTINCT fact ORDER BY fact) AS facts
    FROM shown
    CROSS JOIN LATERAL nightreel.facts(
        prompt_id, kind, state, said, value, flagged, severity, p, model_id, run_id
    ) AS fact
    GROUP BY shown.segment_id
), hashed AS (
    SELECT said.*,
           one.languages,
           sha256(convert_to(jsonb_build_array(said.tags, said.captions, said.texts, one.languages)::text, 'UTF8'))
               AS texts_hash
    FROM said
    CROSS JOIN nightreel.search_index AS one
), deleted AS (
    DELETE FROM nightreel.documents AS document
    WHERE document.video_id = ANY (CAST(:video_ids AS bigint[]))
      AND NOT EXISTS (SELECT FROM said WHERE said.segment_id = document.segment_id)
)
INSERT INTO nightreel.documents AS document (segment_id, video_id, terms, facts, texts_hash)
SELECT hashed.segment_id,
       hashed.video_id,
       CASE WHEN before.texts_hash = hashed.texts_hash THEN before.terms
            ELSE nightreel.terms(hashed.tags, 'A', hashed.languages)
                 || nightreel.terms(hashed.captions, 'B', hashed.languages)
                 || nightreel.terms(hashed.texts, 'C', hashed.languages)
       END,
       known.facts,
       hashed.texts_hash
FROM hashed
JOIN known ON known.segment_id = hashed.segment_id
LEFT JOIN nightreel.documents AS before ON before.segment_id = hashed.segment_id
ORDER BY hashed.segment_id
ON CONFLICT (segment_id) DO UPDATE
SET terms = excluded.terms, facts = excluded.facts, texts_hash = excluded.texts_hash, updated_at = now()
WHERE (document.texts_hash, document.facts) IS DISTINCT FROM (excluded.texts_hash, excluded.facts)
