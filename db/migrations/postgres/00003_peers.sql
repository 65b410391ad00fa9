-- What a chat has become, and the messages by which a peer without a full access
-- hash can be named.
--
-- From here on peers.is_min is about the access hash alone; peers.flags has 4 for a
-- user that is deleted and 8 for facts that came from a min constructor, which older
-- rows do not say. peers.usernames are those of the last facts, and only
-- peer_usernames says who has a name.

-- +goose Up
ALTER TABLE peers ADD COLUMN migrated_to bigint NOT NULL DEFAULT 0; -- a channel's id

CREATE TABLE peer_messages (
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    kind    smallint NOT NULL,
    id      bigint   NOT NULL,
    in_kind smallint NOT NULL, -- of the conversation
    in_id   bigint   NOT NULL,
    msg_id  integer  NOT NULL,
    PRIMARY KEY (account, kind, id, in_kind, in_id)
);
CREATE INDEX peer_messages_in ON peer_messages (account, in_kind, in_id, msg_id);
-- Private conversations and chats share their ids: deletions name no conversation.
CREATE INDEX peer_messages_shared ON peer_messages (account, msg_id) WHERE in_kind < 3;

-- +goose Down
DROP TABLE peer_messages;
ALTER TABLE peers DROP COLUMN migrated_to;
