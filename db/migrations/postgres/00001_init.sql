-- Every later migration has to be safe while workers of the version before it
-- run: add tables, columns with a default and indexes (CONCURRENTLY, in a file
-- with NO TRANSACTION); drop only what the version before it no longer names.
--
-- Names sort and compare byte by byte (COLLATE "C"), as they do in Go.

-- +goose Up
CREATE TABLE accounts (
    id         text COLLATE "C" PRIMARY KEY,
    kind       text        NOT NULL,
    status     text        NOT NULL,
    reason     text        NOT NULL,
    user_id    bigint      NOT NULL,
    dc         integer     NOT NULL,
    proxy      text        NOT NULL,
    device     text, -- JSON
    labels     text, -- JSON
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX accounts_status ON accounts (status);

-- Only workers and those who log accounts in may read this table.
CREATE TABLE sessions (
    account    text COLLATE "C" PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    sealed     bytea       NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE workers (
    id         text COLLATE "C" PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- A row stays when its account goes: the token never starts again.
CREATE TABLE leases (
    account text COLLATE "C" PRIMARY KEY,
    worker  text COLLATE "C", -- NULL: given back
    token   bigint NOT NULL
);
CREATE INDEX leases_worker ON leases (worker);

CREATE TABLE peers (
    account     text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    kind        smallint    NOT NULL, -- 1 user, 2 chat, 3 channel
    id          bigint      NOT NULL,
    access_hash bigint      NOT NULL,
    is_min      boolean     NOT NULL,
    usernames   text        NOT NULL, -- JSON
    phone       text        NOT NULL,
    title       text        NOT NULL,
    flags       integer     NOT NULL, -- 1 bot, 2 self
    seen_at     timestamptz,
    PRIMARY KEY (account, kind, id)
);

-- One row for every username in peers.usernames.
CREATE TABLE peer_usernames (
    account  text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    username text COLLATE "C" NOT NULL,
    kind     smallint NOT NULL,
    id       bigint   NOT NULL,
    PRIMARY KEY (account, username)
);

-- result and error are json and not jsonb: what was stored comes back byte by
-- byte, and jsonb refuses \u0000.
CREATE TABLE outcomes (
    id          text COLLATE "C" PRIMARY KEY,
    account     text COLLATE "C" NOT NULL,
    kind        text        NOT NULL,
    state       text        NOT NULL,
    result      json,
    error       json,
    attempts    integer     NOT NULL,
    enqueued_at timestamptz,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL,
    worker      text        NOT NULL, -- as the result names it
    holder      text        NOT NULL, -- incarnation that held the lease
    token       bigint      NOT NULL,
    payload     bytea -- of a task that was no job
);
CREATE INDEX outcomes_account ON outcomes (account, finished_at, id);
CREATE INDEX outcomes_finished ON outcomes (finished_at, id);

CREATE TABLE floods (
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    method  text COLLATE "C" NOT NULL,
    until   timestamptz NOT NULL,
    PRIMARY KEY (account, method)
);

-- +goose Down
DROP TABLE floods, outcomes, peer_usernames, peers, leases, workers, sessions, accounts;
