-- The breaker of each key, and of the platform as a whole: a row of the request budget whose key begins with @.
-- `failures` goes on counting failures in a row.
ALTER TABLE scheduler.api_budget
    ADD COLUMN openings      INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN open_until    TIMESTAMPTZ,
    -- One call is on its way at most until then, to see whether the platform works again.
    ADD COLUMN probe_until   TIMESTAMPTZ,
    -- Between two calls while what piled up is let out; 0 when closed.
    ADD COLUMN gap_ms        INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN last_begun_at TIMESTAMPTZ,
    -- Failures since window_at, among the grants since window_seq: the share of calls that fail.
    ADD COLUMN window_at     TIMESTAMPTZ,
    ADD COLUMN window_seq    BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN window_failed INTEGER NOT NULL DEFAULT 0,
    -- When a key was set or calls were let out again: a refusal of a call begun before then says nothing of it.
    ADD COLUMN resumed_at    TIMESTAMPTZ;

UPDATE steward.schema_info SET schema_version = 7;
