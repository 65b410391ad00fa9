-- +goose Up
ALTER TABLE outcomes ADD COLUMN supersedes timestamptz;

-- +goose Down
ALTER TABLE outcomes DROP COLUMN supersedes;
