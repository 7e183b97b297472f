-- How many videos have each tag or choice?
SELECT prompt, tag, count(*) AS videos
FROM reporting.tags
GROUP BY prompt, tag
ORDER BY videos DESC, prompt, tag;
