-- The day's money is given by billing, a right belongs to one attempt, and messages keep what came with them.

-- Which attempt of the run the right was given to; 0 when a scheduler of the release before did not say.
ALTER TABLE billing.run_accounts ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0);
-- What an agent's other runs may still spend.
CREATE INDEX run_accounts_of_agent ON billing.run_accounts (agent, expires_at) WHERE closed_at IS NULL;
-- What an agent spent today.
CREATE INDEX usage_of_agent ON billing.usage (agent, at) INCLUDE (cost_pico);

-- A list of {url, name, mime, size}: what the platform says about files sent with the message; NULL until it was asked.
ALTER TABLE scheduler.messages ADD COLUMN attachments JSONB;
CREATE INDEX messages_to_be_read ON scheduler.messages (at) WHERE attachments IS NULL AND side <> 'us';

UPDATE steward.schema_info SET schema_version = 5;
