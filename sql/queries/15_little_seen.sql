-- Of which videos was less than nine tenths seen?
SELECT uri, coverage, covered_s, expected_s
FROM reporting.videos
WHERE coverage < 0.9
ORDER BY coverage, uri;
