-- The same table as in ../postgres, which says more.

-- +goose Up
CREATE TABLE switchboard_outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job         TEXT    NOT NULL CHECK (length(job) = 36),
    account     TEXT    NOT NULL CHECK (length(account) BETWEEN 1 AND 64 AND account NOT GLOB '*[^A-Za-z0-9._@+-]*' AND account GLOB '[A-Za-z0-9+]*'),
    kind        TEXT    NOT NULL CHECK (length(kind) BETWEEN 1 AND 32 AND kind NOT GLOB '*[^a-z_]*'),
    payload     BLOB    NOT NULL CHECK (length(payload) <= 1048576),
    enqueued_at INTEGER NOT NULL DEFAULT (CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000),
    due_at      INTEGER
);
CREATE INDEX switchboard_outbox_job ON switchboard_outbox (job);

INSERT INTO upkeep (name, due_at) VALUES ('outbox', 0) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM upkeep WHERE name = 'outbox';
DROP TABLE switchboard_outbox;
