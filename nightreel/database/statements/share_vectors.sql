-- Copies vectors between segments of the same bytes and seconds, to those that have none.
INSERT INTO nightreel.vectors (embedding_model_id, segment_id, vector)
SELECT DISTINCT ON (own.id) :embedding_model_id, own.id, known.vector
FROM nightreel.videos AS video
JOIN nightreel.segments AS own ON own.video_id = video.id
JOIN nightreel.videos AS twin ON twin.content_sha256 = video.content_sha256
JOIN nightreel.segments AS segment
    ON segment.video_id = twin.id AND segment.id <> own.id AND segment.plan_hash = own.plan_hash
    AND segment.start_s = own.start_s AND segment.end_s = own.end_s
JOIN nightreel.vectors AS known ON known.embedding_model_id = :embedding_model_id AND known.segment_id = segment.id
WHERE video.id = ANY (CAST(:video_ids AS bigint[]))
  AND NOT EXISTS (
      SELECT FROM nightreel.vectors AS one
      WHERE one.embedding_model_id = :embedding_model_id AND one.segment_id = own.id
  )
ORDER BY own.id, segment.id
ON CONFLICT (embedding_model_id, segment_id) DO NOTHING
