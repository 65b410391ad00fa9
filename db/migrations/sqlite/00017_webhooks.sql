-- The same as in ../postgres.

-- +goose Up
CREATE TABLE webhooks (
    id TEXT    NOT NULL PRIMARY KEY,
    job TEXT    NOT NULL,
    account TEXT    NOT NULL,
    finished_at INTEGER NOT NULL,
    url TEXT    NOT NULL,
    host TEXT    NOT NULL,
    key TEXT    NOT NULL,
    state TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    tries INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhooks_created ON webhooks (created_at, id);
CREATE INDEX webhooks_job ON webhooks (job);

CREATE TABLE webhook_attempts (
    webhook TEXT    NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    error   TEXT    NOT NULL,
    PRIMARY KEY (webhook, n)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE webhook_attempts;
DROP TABLE webhooks;
