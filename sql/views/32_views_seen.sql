-- Who saw what: rows are added, never changed nor deleted. `uri`: null if the video was erased since. `what`:
-- `sheet_sent` is a contact sheet that a browser got for a case; `contact_sheet` that it was on show, blurred or not.
CREATE OR REPLACE VIEW reporting.views_seen AS
SELECT seen.id AS view_id,
       person.pseudonym AS reviewer,
       seen.seen_at,
       seen.what,
       seen.video_id,
       video.uri,
       seen.case_id,
       seen.segment,
       seen.blurred,
       coalesce(video.restricted, false) AS restricted
FROM nightreel.views_seen AS seen
JOIN nightreel.users AS person ON person.id = seen.user_id
LEFT JOIN nightreel.videos AS video ON video.id = seen.video_id;
