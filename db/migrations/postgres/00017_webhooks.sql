-- Deliveries of outcomes to webhooks. Workers of the version before refuse jobs that
-- name one.

-- +goose Up
CREATE TABLE webhooks (
    id text COLLATE "C" PRIMARY KEY,
    job text COLLATE "C" NOT NULL, -- its outcome may be gone
    account text COLLATE "C" NOT NULL,
    finished_at timestamptz NOT NULL, -- of the outcome that is told
    url text NOT NULL,
    host text NOT NULL,
    key text NOT NULL, -- name of the API key that signs; '': the installation
    state text NOT NULL, -- pending, delivered, failed
    created_at timestamptz NOT NULL,
    due_at timestamptz, -- NULL: nothing is to be done
    attempts integer NOT NULL,
    tries integer NOT NULL -- since it was written down or replayed
);
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhooks_created ON webhooks (created_at, id);
CREATE INDEX webhooks_job ON webhooks (job);

CREATE TABLE webhook_attempts (
    webhook text COLLATE "C" NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    n       integer NOT NULL,
    at      timestamptz NOT NULL,
    took_ms bigint NOT NULL,
    status  integer NOT NULL, -- of HTTP; 0: there was no answer
    error   text NOT NULL,
    PRIMARY KEY (webhook, n)
);

-- +goose Down
DROP TABLE webhook_attempts;
DROP TABLE webhooks;
