-- +goose Up
ALTER TABLE outcomes ADD COLUMN supersedes integer;

-- +goose Down
ALTER TABLE outcomes DROP COLUMN supersedes;
