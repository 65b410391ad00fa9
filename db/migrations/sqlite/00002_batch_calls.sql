-- The same table as in ../postgres.

-- +goose Up
CREATE TABLE batch_calls (
    job     TEXT    NOT NULL,
    call    INTEGER NOT NULL,
    account TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    result  TEXT    NOT NULL,
    PRIMARY KEY (job, call)
) WITHOUT ROWID;
CREATE INDEX batch_calls_account ON batch_calls (account);

-- +goose Down
DROP TABLE batch_calls;
