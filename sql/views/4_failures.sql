-- Videos that could not be analysed, or only in part (`partly_done`), and the reason.
CREATE OR REPLACE VIEW reporting.failures AS
SELECT video.id AS video_id,
       video.uri,
       analysis.status,
       analysis.reason,
       analysis.detail,
       analysis.attempts,
       analysis.run_id,
       analysis.updated_at AS failed_at,
       video.size_bytes,
       video.content_sha256,
       analysis.id AS analysis_id,
       analysis.covered_s,
       video.expected_s,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id AS console_url
FROM nightreel.analyses AS analysis
JOIN nightreel.videos AS video ON video.id = analysis.video_id
WHERE analysis.status IN ('failed', 'quarantined', 'partly_done') AND video.replaced_at IS NULL;
