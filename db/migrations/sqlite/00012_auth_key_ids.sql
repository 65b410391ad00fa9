-- The same as in ../postgres. A table cannot lose a foreign key here, so that of events
-- is made anew.

-- +goose Up
ALTER TABLE accounts ADD COLUMN auth_key_id TEXT;
ALTER TABLE accounts ADD COLUMN reserved_until INTEGER;
CREATE UNIQUE INDEX accounts_auth_key_id ON accounts (auth_key_id);
CREATE INDEX accounts_user_id ON accounts (user_id) WHERE user_id <> 0;

CREATE TABLE account_events_kept (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    was     TEXT    NOT NULL,
    became  TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    who     TEXT    NOT NULL
);
INSERT INTO account_events_kept SELECT id, account, at, kind, was, became, reason, who FROM account_events;
DROP TABLE account_events;
ALTER TABLE account_events_kept RENAME TO account_events;
CREATE INDEX account_events_account ON account_events (account, kind, id);

-- +goose Down
CREATE TABLE account_events_owned (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    was     TEXT    NOT NULL,
    became  TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    who     TEXT    NOT NULL
);
INSERT INTO account_events_owned SELECT id, account, at, kind, was, became, reason, who FROM account_events
    WHERE account IN (SELECT id FROM accounts);
DROP TABLE account_events;
ALTER TABLE account_events_owned RENAME TO account_events;
CREATE INDEX account_events_account ON account_events (account, kind, id);

DROP INDEX accounts_user_id;
DROP INDEX accounts_auth_key_id;
ALTER TABLE accounts DROP COLUMN reserved_until;
ALTER TABLE accounts DROP COLUMN auth_key_id;
