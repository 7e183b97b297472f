-- Stores vectors of segments, which are found by video, plan and index. An assignment makes pgvector's type of an array.
INSERT INTO nightreel.vectors (embedding_model_id, segment_id, vector)
SELECT :embedding_model_id, segment.id, given.vector::real[]
FROM unnest(
    CAST(:video_ids AS bigint[]), CAST(:plan_hashes AS text[]), CAST(:indexes AS integer[]), CAST(:vectors AS text[])
) AS given (video_id, plan_hash, index, vector)
JOIN nightreel.segments AS segment
    ON segment.video_id = given.video_id AND segment.plan_hash = given.plan_hash AND segment.index = given.index
ORDER BY segment.id
ON CONFLICT (embedding_model_id, segment_id) DO NOTHING
