-- Finds a user by phone number. Most peers have none that is known.

-- +goose NO TRANSACTION

-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS peers_phone; -- an attempt that failed leaves a broken one
CREATE INDEX CONCURRENTLY peers_phone ON peers (account, phone) WHERE phone <> '';

-- +goose Down
DROP INDEX CONCURRENTLY peers_phone;
