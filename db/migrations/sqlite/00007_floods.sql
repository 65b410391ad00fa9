-- The same tables as in ../postgres.

-- +goose Up
ALTER TABLE floods ADD COLUMN error TEXT NOT NULL DEFAULT '';

CREATE TABLE chat_floods (
    account TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    chat    INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    error   TEXT    NOT NULL,
    PRIMARY KEY (account, chat)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE chat_floods;
ALTER TABLE floods DROP COLUMN error;
