-- Jobs that producers enqueue in transactions of their own, until a worker has put them
-- on their accounts' lines. A producer may only insert: what is not the shape of a job
-- is refused here.

-- +goose Up
CREATE TABLE switchboard_outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- not in the order of commits
    job         uuid NOT NULL DEFAULT gen_random_uuid(),
    account     text COLLATE "C" NOT NULL CHECK (account ~ '^[A-Za-z0-9+][A-Za-z0-9._@+-]{0,63}$'),
    kind        text NOT NULL CHECK (kind ~ '^[a-z_]{1,32}$'),
    payload     bytea NOT NULL CHECK (octet_length(payload) <= 1048576),
    enqueued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at      timestamptz -- NULL: at once
);
CREATE INDEX switchboard_outbox_job ON switchboard_outbox (job);

-- The one who has it locked relays.
INSERT INTO upkeep (name, due_at) VALUES ('outbox', clock_timestamp()) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM upkeep WHERE name = 'outbox';
DROP TABLE switchboard_outbox;
