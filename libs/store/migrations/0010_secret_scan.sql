-- What agents made is looked through for secrets before it goes out.

-- What a file holds that looks like a secret, in words; nothing when it holds none, or came before this release.
ALTER TABLE scheduler.artefacts ADD COLUMN secret TEXT;

UPDATE steward.schema_info SET schema_version = 10;
