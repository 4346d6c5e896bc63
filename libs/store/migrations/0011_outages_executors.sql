-- An outage of what runs need costs them time, not attempts; and it is told.

-- Times a run was to be started again later, by its agent's wish or because no model answered.
ALTER TABLE scheduler.runs ADD COLUMN postponed INTEGER NOT NULL DEFAULT 0;

-- How each provider of models fares, as far as the calls of all billings tell.
CREATE TABLE billing.provider_health (
    provider       TEXT PRIMARY KEY,
    -- Failures in a row, until a call works.
    failures       INTEGER NOT NULL DEFAULT 0,
    -- The first of them; nothing while calls work.
    failing_since  TIMESTAMPTZ,
    last_failed_at TIMESTAMPTZ,
    -- In words, without anything the provider said.
    last_error     TEXT,
    last_ok_at     TIMESTAMPTZ
);
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.provider_health TO billing;
GRANT SELECT ON billing.provider_health TO backup;

-- What an agent's version is called by people, beside its hash.
ALTER TABLE scheduler.bundles ADD COLUMN label TEXT;

-- Executors, as their sessions know them.
CREATE TABLE scheduler.executors (
    id        TEXT PRIMARY KEY,
    slots     INTEGER NOT NULL,
    isolation TEXT NOT NULL,
    version   TEXT NOT NULL,
    -- It takes no more work; what it has it finishes.
    draining  BOOLEAN NOT NULL DEFAULT FALSE,
    came_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    seen_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler.executors TO scheduler;
GRANT SELECT ON scheduler.executors TO backup;

UPDATE steward.schema_info SET schema_version = 11;
