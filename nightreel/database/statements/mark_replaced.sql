-- Versions that lie under the same key as a listed object but are not it.
UPDATE nightreel.videos AS old
SET replaced_at = now()
FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[])) AS listed (uri, etag)
WHERE old.uri = listed.uri AND old.etag <> listed.etag AND old.replaced_at IS NULL
