-- What the platform says that this release does not know: one row per name, kept over restarts and counted over replicas.
CREATE TABLE scheduler.api_drift (
    -- field, event, status, value, item, code or header.
    what     TEXT NOT NULL,
    -- Where it was: gig, contract, webhook, or the name of a call.
    place    TEXT NOT NULL,
    name     TEXT NOT NULL,
    seen     BIGINT NOT NULL CHECK (seen > 0),
    first_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (what, place, name)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler.api_drift TO scheduler;
GRANT SELECT ON scheduler.api_drift TO backup;

UPDATE steward.schema_info SET schema_version = 6;
