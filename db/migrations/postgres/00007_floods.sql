-- Floods of chats, and which error demanded a pause. A flood with no method is the
-- whole account's. Workers of the version before read floods of methods alone.

-- +goose Up
ALTER TABLE floods ADD COLUMN error text NOT NULL DEFAULT '';

CREATE TABLE chat_floods (
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    chat    bigint      NOT NULL, -- as the Bot API numbers peers
    until   timestamptz NOT NULL,
    error   text        NOT NULL,
    PRIMARY KEY (account, chat)
);

-- +goose Down
DROP TABLE chat_floods;
ALTER TABLE floods DROP COLUMN error;
