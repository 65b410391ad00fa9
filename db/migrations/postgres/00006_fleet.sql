-- What a worker serves, and since when. Workers of the version before register without
-- it: they serve every account.

-- +goose Up
ALTER TABLE workers
    ADD COLUMN registered_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN labels        text        NOT NULL DEFAULT '{}', -- JSON
    ADD COLUMN weight        integer     NOT NULL DEFAULT 1,    -- 0: it is leaving
    ADD COLUMN capacity      integer     NOT NULL DEFAULT 1000;

-- +goose Down
ALTER TABLE workers
    DROP COLUMN registered_at,
    DROP COLUMN labels,
    DROP COLUMN weight,
    DROP COLUMN capacity;
