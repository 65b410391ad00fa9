-- What happened to accounts, and since when they are what they are. Workers of the
-- version before change a status without either.

-- +goose Up
ALTER TABLE accounts ADD COLUMN status_since timestamptz; -- NULL: not known

CREATE TABLE account_events (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- not in the order of commits
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    at      timestamptz NOT NULL,
    kind    text NOT NULL,
    was     text NOT NULL,
    became  text NOT NULL,
    reason  text NOT NULL,
    who     text NOT NULL
);
CREATE INDEX account_events_account ON account_events (account, kind, id);

-- +goose Down
DROP TABLE account_events;
ALTER TABLE accounts DROP COLUMN status_since;
