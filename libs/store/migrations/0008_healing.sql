-- How far the marketplace's own log of webhooks was compared with the inbox, and how the door fares.
CREATE TABLE scheduler.delivery_log (
    agent     TEXT PRIMARY KEY REFERENCES scheduler.agents (name),
    -- What was logged before this is in the inbox.
    safe_at   TIMESTAMPTZ NOT NULL,
    -- Webhooks taken from the log, ever.
    healed    BIGINT NOT NULL DEFAULT 0,
    -- Webhooks of the last comparison that had not got through.
    failing   INTEGER NOT NULL DEFAULT 0,
    looked_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler.delivery_log TO scheduler;
GRANT SELECT ON scheduler.delivery_log TO backup;

-- Messages are told by webhooks, which do not name them, and by reads, which do: one row for both.
ALTER TABLE scheduler.messages
    -- The platform's id, once it is known.
    ADD COLUMN external_id TEXT,
    -- A read told of it and no webhook did so far.
    ADD COLUMN unheard     BOOLEAN NOT NULL DEFAULT FALSE;

UPDATE steward.schema_info SET schema_version = 8;
