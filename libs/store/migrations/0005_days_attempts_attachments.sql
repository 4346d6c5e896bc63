-- The day's money is given by billing, a right belongs to one attempt, and messages keep what came with them.
-- Indexes first: they only keep writers of their table waiting, while the columns at the end stop everybody, for a moment.

-- What an agent spent today.
CREATE INDEX usage_of_agent ON billing.usage (agent, at) INCLUDE (cost_pico);
-- What an agent's other runs may still spend.
CREATE INDEX run_accounts_of_agent ON billing.run_accounts (agent, expires_at) WHERE closed_at IS NULL;
-- How an agent's last jobs ended.
CREATE INDEX runs_ended_of_agent ON scheduler.runs (agent, updated_at DESC)
    WHERE kind IN ('work', 'revise') AND state IN ('succeeded', 'parked');

-- A list of {url, name, mime, size}: what the platform says about files sent with the message; NULL until it was asked.
ALTER TABLE scheduler.messages ADD COLUMN attachments JSONB;
CREATE INDEX messages_to_be_read ON scheduler.messages (at) WHERE attachments IS NULL AND side <> 'us';
-- Which attempt of the run the right was given to; 0 when a scheduler of the release before did not say.
ALTER TABLE billing.run_accounts ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0);

UPDATE steward.schema_info SET schema_version = 5;
