SELECT count(*) AS segments, count(one.segment_id) AS with_vector
FROM nightreel.documents AS document
LEFT JOIN nightreel.vectors AS one
    ON one.embedding_model_id = :embedding_model_id AND one.segment_id = document.segment_id
