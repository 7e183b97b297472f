-- One row for each current video with its newest analysis. Videos that are gone stay, with `gone_at`.
CREATE OR REPLACE VIEW reporting.videos AS
SELECT video.id AS video_id,
       video.uri,
       analysis.status,
       analysis.reason,
       analysis.detail,
       analysis.segments,
       analysis.reused,
       analysis.attempts,
       video.duration_s,
       video.size_bytes,
       video.modified_at,
       video.discovered_at,
       analysis.updated_at AS analysed_at,
       video.content_sha256,
       video.probe ->> 'container' AS container,
       video.probe ->> 'codec' AS codec,
       (video.probe ->> 'width')::integer AS width,
       (video.probe ->> 'height')::integer AS height,
       recipe.plan,
       model.name AS model,
       video.etag,
       (video.probe ->> 'fps')::double precision AS fps,
       (video.probe ->> 'frame_count')::bigint AS frame_count,
       (video.probe ->> 'rotation')::integer AS rotation,
       (video.probe ->> 'truncated')::boolean AS truncated,
       (video.probe ->> 'damaged_packets')::bigint AS damaged_packets,
       video.probe ->> 'decoder' AS decoder,
       video.probe ->> 'decoder_reason' AS decoder_reason,
       video.gone_at,
       analysis.covered_s,
       video.expected_s,
       analysis.covered_s / nullif(video.expected_s, 0) AS coverage,
       (SELECT count(*) FROM nightreel.failed_segments WHERE failed_segments.analysis_id = analysis.id) AS failed_segments,
       video.restricted,
       (SELECT console_url FROM nightreel.site) || '/videos/' || video.id AS console_url,
       CASE WHEN NOT (video.restricted AND (SELECT nightreel.hides_restricted()))
            THEN (SELECT console_url FROM nightreel.site) || '/api/v1/videos/' || video.id || '/thumbnail' END AS thumbnail_url
FROM nightreel.videos AS video
LEFT JOIN LATERAL (
    -- Not *, which would tie the view to columns that it does not show.
    SELECT id, recipe_id, status, reason, detail, segments, reused, attempts, updated_at, covered_s
    FROM nightreel.analyses
    WHERE analyses.video_id = video.id
    ORDER BY analyses.updated_at DESC, id DESC
    LIMIT 1
) AS analysis ON true
LEFT JOIN nightreel.recipes AS recipe ON recipe.id = analysis.recipe_id
LEFT JOIN nightreel.models AS model ON model.id = recipe.model_id
WHERE video.replaced_at IS NULL;
