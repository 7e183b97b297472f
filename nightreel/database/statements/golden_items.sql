-- The golden items that people get, with their labels and how many people had them.
SELECT golden.id AS golden_id,
       (SELECT min(video.uri) FROM nightreel.videos AS video
        WHERE video.content_sha256 = golden.content AND video.replaced_at IS NULL) AS uri,
       golden.made_by,
       golden.created_at,
       (SELECT jsonb_agg(jsonb_build_object('prompt', prompt.name, 'tag', label.tag, 'is_right', label.is_right)
                         ORDER BY prompt.set_name, prompt.name, label.tag)
        FROM nightreel.golden_labels AS label
        JOIN nightreel.prompts AS prompt ON prompt.id = label.prompt_id
        WHERE label.golden_id = golden.id) AS labels,
       (SELECT count(DISTINCT had.golden_for) FROM nightreel.cases AS had WHERE had.golden_id = golden.id) AS given
FROM nightreel.golden_items AS golden
WHERE golden.removed_at IS NULL
ORDER BY golden.id
