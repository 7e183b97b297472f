-- Segments that could not be analysed, and the reason. The other segments of a partly done video have answers.
CREATE OR REPLACE VIEW reporting.failed_segments AS
SELECT video.id AS video_id,
       video.uri,
       failed.index AS segment,
       failed.start_s,
       failed.end_s,
       failed.reason,
       failed.detail,
       failed.failed_at,
       analysis.status,
       analysis.run_id,
       analysis.id AS analysis_id,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id || '?t=' || failed.start_s AS console_url
FROM nightreel.failed_segments AS failed
JOIN nightreel.analyses AS analysis ON analysis.id = failed.analysis_id
JOIN nightreel.videos AS video ON video.id = analysis.video_id
WHERE video.replaced_at IS NULL;
