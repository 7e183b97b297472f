-- The videos under a hold that counts: those with its key, or with its content.
CREATE OR REPLACE VIEW nightreel.held_videos AS
SELECT video.id AS video_id, hold.id AS hold_id
FROM nightreel.legal_holds AS hold
JOIN nightreel.videos AS video ON video.uri = hold.uri
WHERE hold.removed_at IS NULL
UNION
SELECT video.id, hold.id
FROM nightreel.legal_holds AS hold
JOIN nightreel.videos AS video ON video.content_sha256 = hold.content_sha256
WHERE hold.removed_at IS NULL;
CREATE OR REPLACE VIEW nightreel.held_contents AS
SELECT DISTINCT video.content_sha256
FROM nightreel.held_videos AS held
JOIN nightreel.videos AS video ON video.id = held.video_id
WHERE video.content_sha256 IS NOT NULL;
-- What must not be erased, and what no longer must not: `removed_at`. Erasure takes the key and the reason from old ones.
CREATE OR REPLACE VIEW reporting.legal_holds AS
SELECT hold.id AS hold_id,
       hold.uri,
       hold.content_sha256,
       hold.reason,
       hold.made_by,
       hold.created_at,
       hold.removed_at,
       hold.removed_by,
       (SELECT count(*) FROM nightreel.held_videos AS held WHERE held.hold_id = hold.id) AS videos
FROM nightreel.legal_holds AS hold;
