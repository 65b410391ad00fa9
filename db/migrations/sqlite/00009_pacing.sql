-- The same column and index as in ../postgres.

-- +goose Up
ALTER TABLE accounts ADD COLUMN pace TEXT NOT NULL DEFAULT '';
CREATE INDEX accounts_pace ON accounts (id) WHERE pace <> '';

-- +goose Down
DROP INDEX accounts_pace;
ALTER TABLE accounts DROP COLUMN pace;
