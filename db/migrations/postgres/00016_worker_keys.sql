-- Which keys of its keyset a worker has: their ids with commas between, the first one
-- seals. Workers of the version before do not tell.

-- +goose Up
ALTER TABLE workers ADD COLUMN keys text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE workers DROP COLUMN keys;
