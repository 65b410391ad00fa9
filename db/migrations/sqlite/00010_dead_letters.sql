-- The same column, table and indexes as in ../postgres.

-- +goose Up
ALTER TABLE outcomes ADD COLUMN supersedes INTEGER;

CREATE TABLE upkeep (
    name   TEXT    NOT NULL PRIMARY KEY,
    due_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX outcomes_state ON outcomes (state, finished_at, id) WHERE state <> 'succeeded';
CREATE INDEX outcomes_account_state ON outcomes (account, state, finished_at, id) WHERE state <> 'succeeded';

-- +goose Down
DROP INDEX outcomes_account_state;
DROP INDEX outcomes_state;
DROP TABLE upkeep;
ALTER TABLE outcomes DROP COLUMN supersedes;
