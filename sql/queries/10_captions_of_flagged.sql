-- What happens in the flagged segments, in words?
SELECT flagged.uri, flagged.start_s, flagged.prompt, caption.answer AS caption
FROM reporting.timeline AS flagged
JOIN reporting.timeline AS caption USING (video_id, segment)
WHERE flagged.flagged AND caption.prompt = 'caption'
ORDER BY flagged.uri, flagged.start_s;
