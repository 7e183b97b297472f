-- Marks versions replaced that have the key of a listed object, but another ETag. Returns their ids.
UPDATE nightreel.videos AS old
SET replaced_at = now()
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[])) AS listed (uri, etag)
WHERE old.uri = listed.uri AND old.etag <> listed.etag AND old.replaced_at IS NULL
RETURNING old.id
