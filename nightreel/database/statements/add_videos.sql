-- Adds new versions. A version that was replaced or gone, and is back because the object was restored, becomes current
-- again.
INSERT INTO nightreel.videos AS known (uri, etag, size_bytes, modified_at, run_id)
SELECT listed.uri, listed.etag, listed.size_bytes, listed.modified_at, :run_id
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[]), CAST(:sizes AS bigint[]), CAST(:modified AS timestamptz[]))
         AS listed (uri, etag, size_bytes, modified_at)
ORDER BY listed.uri
ON CONFLICT (uri, etag) DO UPDATE SET replaced_at = NULL, gone_at = NULL, modified_at = excluded.modified_at
    WHERE known.replaced_at IS NOT NULL OR known.gone_at IS NOT NULL
