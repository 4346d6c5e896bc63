-- From an agent file to an agent that may bid.

-- Calls whose answer is the only copy of a secret: noted before they are sent, so that a lost answer is known of.
CREATE TABLE scheduler.sole_answers (
    agent    TEXT NOT NULL REFERENCES scheduler.agents (name),
    call     TEXT NOT NULL CHECK (call IN ('register', 'rotate_secret')),
    -- Whose call it is: only its holder may end it.
    token    UUID NOT NULL,
    -- begun calls that nobody ended are lost ones.
    state    TEXT NOT NULL CHECK (state IN ('begun', 'kept', 'refused', 'lost')),
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at TIMESTAMPTZ,
    detail   TEXT,
    PRIMARY KEY (agent, call)
);

CREATE TABLE scheduler.onboarding (
    agent        TEXT PRIMARY KEY REFERENCES scheduler.agents (name),
    -- The door as the marketplace was told it.
    webhook_url  TEXT,
    -- Where its operator claims the agent, until it was shown.
    claim_sealed BYTEA,
    updated_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_by   TEXT NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler.sole_answers, scheduler.onboarding TO scheduler;
GRANT SELECT ON scheduler.sole_answers, scheduler.onboarding TO backup;

UPDATE steward.schema_info SET schema_version = 9;
