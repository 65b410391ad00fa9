-- The same columns as in ../postgres.

-- +goose Up
ALTER TABLE accounts ADD COLUMN api_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN secrets BLOB;

-- +goose Down
ALTER TABLE accounts DROP COLUMN secrets;
ALTER TABLE accounts DROP COLUMN api_id;
