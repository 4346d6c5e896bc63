-- Agents that rest or come to an end, and hours in which nothing new begins.

ALTER TABLE scheduler.agents
    -- No new bids; what was accepted is finished.
    ADD COLUMN winding_down BOOLEAN NOT NULL DEFAULT FALSE,
    -- While it is paused: what runs is asked to stop too, and comes back later.
    ADD COLUMN paused_now BOOLEAN NOT NULL DEFAULT FALSE,
    -- The operator's words, and since when, while it is paused or winding down.
    ADD COLUMN rest_reason TEXT,
    ADD COLUMN rest_since TIMESTAMPTZ;

-- Windows of maintenance: planned from the configuration ahead of time, or begun by an operator.
CREATE TABLE scheduler.maintenance (
    id         UUID PRIMARY KEY,
    source     TEXT NOT NULL CHECK (source IN ('config', 'operator')),
    starts_at  TIMESTAMPTZ NOT NULL,
    ends_at    TIMESTAMPTZ NOT NULL,
    reason     TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK (starts_at <= ends_at)
);
CREATE UNIQUE INDEX maintenance_planned ON scheduler.maintenance (starts_at) WHERE source = 'config';
CREATE INDEX maintenance_by_end ON scheduler.maintenance (ends_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler.maintenance TO scheduler;
GRANT SELECT ON scheduler.maintenance TO backup;

UPDATE steward.schema_info SET schema_version = 13;
