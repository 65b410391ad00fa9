-- The same as in ../postgres.

-- +goose Up
CREATE TABLE api_keys (
    name       TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE, -- SHA-256 of the secret
    scope      TEXT NOT NULL, -- JSON
    rate       REAL NOT NULL, -- a second
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    revoked_by TEXT NOT NULL DEFAULT ''
);

-- +goose Down
DROP TABLE api_keys;
