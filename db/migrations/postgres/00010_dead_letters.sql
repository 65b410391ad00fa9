-- Outcomes that can be run again, listed by state, and deleted by age. From here on
-- outcomes.payload is that of every failed or unknown job.

-- +goose NO TRANSACTION

-- +goose Up
-- When the outcome had finished that this one took the place of.
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS supersedes timestamptz;

-- Work of the whole installation that one worker at a time does: when it is due.
CREATE TABLE IF NOT EXISTS upkeep (
    name   text COLLATE "C" PRIMARY KEY,
    due_at timestamptz NOT NULL
);

-- Few outcomes are in them: a job that succeeds does not write them.
DROP INDEX CONCURRENTLY IF EXISTS outcomes_state; -- an attempt that failed leaves a broken one
CREATE INDEX CONCURRENTLY outcomes_state ON outcomes (state, finished_at, id) WHERE state <> 'succeeded';
DROP INDEX CONCURRENTLY IF EXISTS outcomes_account_state;
CREATE INDEX CONCURRENTLY outcomes_account_state ON outcomes (account, state, finished_at, id) WHERE state <> 'succeeded';

-- +goose Down
DROP INDEX CONCURRENTLY outcomes_account_state;
DROP INDEX CONCURRENTLY outcomes_state;
DROP TABLE upkeep;
ALTER TABLE outcomes DROP COLUMN supersedes;
