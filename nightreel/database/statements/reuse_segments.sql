-- Copies the segments under this plan from an analysed video with the same bytes (the twin).
INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s, promised_s)
SELECT DISTINCT ON (segment.index)
       :video_id, segment.plan_hash, segment.index, segment.start_s, segment.end_s, segment.promised_s
FROM nightreel.videos AS twin
JOIN nightreel.segments AS segment ON segment.video_id = twin.id
WHERE twin.content_sha256 = :content_sha256 AND twin.id <> :video_id AND segment.plan_hash = :plan_hash
ON CONFLICT (video_id, plan_hash, index) DO NOTHING
