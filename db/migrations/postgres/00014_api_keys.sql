-- Keys of the HTTP gateway. A row stays when its key is revoked: it says who made the
-- key, who ended it, and when. Programs of the version before do not know the table.

-- +goose Up
CREATE TABLE api_keys (
    name       text COLLATE "C" PRIMARY KEY,
    hash       bytea NOT NULL UNIQUE, -- SHA-256 of the secret
    scope      text NOT NULL, -- JSON
    rate       double precision NOT NULL, -- a second
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text NOT NULL DEFAULT ''
);

-- +goose Down
DROP TABLE api_keys;
