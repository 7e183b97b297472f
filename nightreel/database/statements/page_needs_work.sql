-- Of one page of the listing, the objects that need work: never seen, changed under the same key, or known but not
-- yet wanted under this recipe. A page without such objects costs this one read.
SELECT listed.uri,
       listed.etag,
       listed.size_bytes,
       listed.modified_at,
       CASE WHEN current.id IS NULL THEN 'new'
            WHEN current.etag <> listed.etag THEN 'changed'
            ELSE 'wanted'
       END AS state
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[]), CAST(:sizes AS bigint[]), CAST(:modified AS timestamptz[]))
         AS listed (uri, etag, size_bytes, modified_at)
LEFT JOIN nightreel.videos AS current ON current.uri = listed.uri AND current.replaced_at IS NULL
WHERE current.id IS NULL
   OR current.etag <> listed.etag
   OR NOT EXISTS (SELECT FROM nightreel.analyses AS wanted
                  WHERE wanted.video_id = current.id AND wanted.recipe_id = :recipe_id)
