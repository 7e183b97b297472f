-- The objects of one page of the listing that need work: never seen, changed under the same key, known but not yet
-- wanted under this recipe, marked gone, or restored from an archive since they failed. A page without such objects
-- costs only this read. Later findings overrule an older listing (an inventory).
SELECT listed.uri,
       listed.etag,
       listed.size_bytes,
       listed.modified_at,
       CASE WHEN current.id IS NULL THEN 'new'
            WHEN current.etag <> listed.etag THEN 'changed'
            WHEN analysis.video_id IS NULL THEN 'wanted'
            WHEN analysis.status = 'failed' AND analysis.reason = 'archived' AND NOT listed.archived THEN 'restored'
            ELSE 'back'
       END AS state,
       current.gone_at IS NOT NULL AND current.etag = listed.etag AS back
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[]), CAST(:sizes AS bigint[]), CAST(:modified AS timestamptz[]),
            CAST(:archived AS boolean[]))
         AS listed (uri, etag, size_bytes, modified_at, archived)
LEFT JOIN nightreel.videos AS current ON current.uri = listed.uri AND current.replaced_at IS NULL
LEFT JOIN nightreel.analyses AS analysis ON analysis.video_id = current.id AND analysis.recipe_id = :recipe_id
WHERE (current.id IS NULL
       OR current.etag <> listed.etag
       OR current.gone_at IS NOT NULL
       OR analysis.video_id IS NULL
       OR (analysis.status = 'failed' AND analysis.reason = 'archived' AND NOT listed.archived))
  AND (CAST(:as_of AS timestamptz) IS NULL
       OR current.id IS NULL
       OR (current.etag = listed.etag OR current.discovered_at <= :as_of)
           AND (current.gone_at IS NULL OR current.gone_at <= :as_of))
