-- Segments on show without a vector, each with the times of its frames, and their thumbnail if there is one.
SELECT segment.id AS segment_id, segment.video_id, segment.plan_hash, segment.index, video.uri, video.etag,
       video.content_sha256, picture.thumbnail_uri, picture.pts_s AS frame_times_s
FROM (
    SELECT document.segment_id FROM nightreel.documents AS document
    WHERE document.segment_id > :after
      AND NOT EXISTS (
          SELECT FROM nightreel.vectors AS one
          WHERE one.embedding_model_id = :embedding_model_id AND one.segment_id = document.segment_id
      )
    ORDER BY document.segment_id
    LIMIT :limit
) AS lacking
JOIN nightreel.segments AS segment ON segment.id = lacking.segment_id
JOIN nightreel.videos AS video ON video.id = segment.video_id
JOIN LATERAL (
    SELECT feature.thumbnail_uri, feature.pts_s
    FROM nightreel.answers AS answer
    JOIN nightreel.features AS feature ON feature.key = answer.feature_key
    WHERE answer.segment_id = segment.id AND NOT answer.superseded AND answer.look = ''
    ORDER BY feature.thumbnail_uri IS NULL, answer.id DESC
    LIMIT 1
) AS picture ON true
ORDER BY segment.id
