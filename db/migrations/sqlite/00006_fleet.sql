-- The same columns as in ../postgres.

-- +goose Up
ALTER TABLE workers ADD COLUMN registered_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE workers ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE workers ADD COLUMN capacity INTEGER NOT NULL DEFAULT 1000;

-- +goose Down
ALTER TABLE workers DROP COLUMN registered_at;
ALTER TABLE workers DROP COLUMN labels;
ALTER TABLE workers DROP COLUMN weight;
ALTER TABLE workers DROP COLUMN capacity;
