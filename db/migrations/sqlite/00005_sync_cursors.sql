-- The same table as in ../postgres.

-- +goose Up
CREATE TABLE sync_cursors (
    job     TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    cursor  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sync_cursors_account ON sync_cursors (account);

-- +goose Down
DROP TABLE sync_cursors;
