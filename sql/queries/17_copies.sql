-- Which videos have the same bytes?
SELECT content_sha256, count(*) AS videos, array_agg(uri ORDER BY uri) AS uris
FROM reporting.videos
WHERE content_sha256 IS NOT NULL
GROUP BY content_sha256
HAVING count(*) > 1
ORDER BY videos DESC, content_sha256;
