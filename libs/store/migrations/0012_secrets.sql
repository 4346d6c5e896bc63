-- Keys of an agent's own, and what the scan of outgoing text knows secrets by.

-- Secrets of agents, by the names their files use. Only billing has the key that opens them.
CREATE TABLE billing.agent_secrets (
    agent  TEXT NOT NULL,
    name   TEXT NOT NULL,
    -- Bound to agent and name.
    sealed BYTEA NOT NULL,
    set_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (agent, name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.agent_secrets TO billing;
GRANT SELECT ON billing.agent_secrets TO backup;

-- Hosts a run may call with a secret of its agent's: [{host, header, format, secret}], the secret by its name.
ALTER TABLE billing.run_accounts ADD COLUMN credentials JSONB NOT NULL DEFAULT '[]';

-- Who set a secret stands beside what else operators did. Billing reads nothing there.
GRANT USAGE ON SCHEMA scheduler TO billing;
GRANT INSERT ON scheduler.audit TO billing;

-- What a secret is known by without being known: a keyed digest and its length.
CREATE TABLE steward.known_secrets (
    -- A reader sees by the last number whether there is news.
    seq       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      TEXT NOT NULL CHECK (kind IN ('marketplace', 'webhook', 'provider', 'agent')),
    -- The agent, or the provider.
    owner     TEXT NOT NULL,
    name      TEXT NOT NULL DEFAULT '',
    -- Which key made it: what another key made cannot be compared.
    key_id    BYTEA NOT NULL,
    -- Bytes that were digested: the secret's, or the first 512 of a longer one.
    length    INTEGER NOT NULL CHECK (length BETWEEN 12 AND 512),
    -- A short keyed hash that rolls over a text, to find where the digest is worth a look.
    print     BIGINT NOT NULL,
    digest    BYTEA NOT NULL,
    noted_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When a value that was replaced is forgotten; nothing while it is in use.
    forget_at TIMESTAMPTZ,
    UNIQUE (kind, owner, name, digest)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON steward.known_secrets TO scheduler, billing;
GRANT SELECT ON steward.known_secrets TO backup;

UPDATE steward.schema_info SET schema_version = 12;
