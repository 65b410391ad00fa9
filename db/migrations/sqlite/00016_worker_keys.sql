-- The same column as in ../postgres.

-- +goose Up
ALTER TABLE workers ADD COLUMN keys TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE workers DROP COLUMN keys;
