-- The same as in ../postgres.

-- +goose Up
ALTER TABLE peers ADD COLUMN migrated_to INTEGER NOT NULL DEFAULT 0;

CREATE TABLE peer_messages (
    account TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    kind    INTEGER NOT NULL,
    id      INTEGER NOT NULL,
    in_kind INTEGER NOT NULL,
    in_id   INTEGER NOT NULL,
    msg_id  INTEGER NOT NULL,
    PRIMARY KEY (account, kind, id, in_kind, in_id)
) WITHOUT ROWID;
CREATE INDEX peer_messages_in ON peer_messages (account, in_kind, in_id, msg_id);
CREATE INDEX peer_messages_shared ON peer_messages (account, msg_id) WHERE in_kind < 3;

-- +goose Down
DROP TABLE peer_messages;
ALTER TABLE peers DROP COLUMN migrated_to;
