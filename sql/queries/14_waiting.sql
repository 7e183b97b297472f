-- Which videos wait for their analysis, the oldest first?
SELECT uri, discovered_at, now() - discovered_at AS waits
FROM reporting.videos
WHERE status IN ('pending', 'claimed') AND gone_at IS NULL
ORDER BY discovered_at, uri;
