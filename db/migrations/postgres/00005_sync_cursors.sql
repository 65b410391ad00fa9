-- How far syncs have come that have no outcome yet.

-- +goose Up
CREATE TABLE sync_cursors (
    job     text COLLATE "C" PRIMARY KEY,
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    cursor  text NOT NULL -- JSON
);
CREATE INDEX sync_cursors_account ON sync_cursors (account);

-- +goose Down
DROP TABLE sync_cursors;
