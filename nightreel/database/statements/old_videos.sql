-- The videos that were found, or are gone, before a time, by id after the one with this id, without those under a hold.
-- A version that was overwritten is gone, too.
SELECT video.id, video.uri, num_nonnulls(video.gone_at, video.replaced_at) > 0 AS is_gone
FROM nightreel.videos AS video
WHERE video.id > :after
  AND (video.discovered_at < CAST(:found_before AS timestamptz) OR least(video.gone_at, video.replaced_at) < CAST(:gone_before AS timestamptz))
  AND NOT EXISTS (SELECT FROM nightreel.held_videos AS held WHERE held.video_id = video.id)
ORDER BY video.id
LIMIT :most
