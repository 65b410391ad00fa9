-- The same index as in ../postgres.

-- +goose Up
CREATE INDEX peers_phone ON peers (account, phone) WHERE phone <> '';

-- +goose Down
DROP INDEX peers_phone;
