-- The same as in ../postgres.

-- +goose Up
ALTER TABLE accounts ADD COLUMN status_since INTEGER;

CREATE TABLE account_events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    was     TEXT    NOT NULL,
    became  TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    who     TEXT    NOT NULL
);
CREATE INDEX account_events_account ON account_events (account, kind, id);

-- +goose Down
DROP TABLE account_events;
ALTER TABLE accounts DROP COLUMN status_since;
