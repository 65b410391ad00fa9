-- The same tables as in ../postgres. Times are microseconds since 1970.

-- +goose Up
CREATE TABLE accounts (
    id         TEXT    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    user_id    INTEGER NOT NULL,
    dc         INTEGER NOT NULL,
    proxy      TEXT    NOT NULL,
    device     TEXT,
    labels     TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_status ON accounts (status);

CREATE TABLE sessions (
    account    TEXT    NOT NULL PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    sealed     BLOB    NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
    id         TEXT    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE leases (
    account TEXT    NOT NULL PRIMARY KEY,
    worker  TEXT,
    token   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX leases_worker ON leases (worker);

CREATE TABLE peers (
    account     TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    kind        INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    access_hash INTEGER NOT NULL,
    is_min      BOOLEAN NOT NULL,
    usernames   TEXT    NOT NULL,
    phone       TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    flags       INTEGER NOT NULL,
    seen_at     INTEGER,
    PRIMARY KEY (account, kind, id)
) WITHOUT ROWID;

CREATE TABLE peer_usernames (
    account  TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    username TEXT    NOT NULL,
    kind     INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    PRIMARY KEY (account, username)
) WITHOUT ROWID;

CREATE TABLE outcomes (
    id          TEXT    NOT NULL PRIMARY KEY,
    account     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    result      TEXT,
    error       TEXT,
    attempts    INTEGER NOT NULL,
    enqueued_at INTEGER,
    started_at  INTEGER,
    finished_at INTEGER NOT NULL,
    worker      TEXT    NOT NULL,
    holder      TEXT    NOT NULL,
    token       INTEGER NOT NULL,
    payload     BLOB -- of a task that was no job
);
CREATE INDEX outcomes_account ON outcomes (account, finished_at, id);
CREATE INDEX outcomes_finished ON outcomes (finished_at, id);

CREATE TABLE floods (
    account TEXT    NOT NULL REFERENCES accounts ON DELETE CASCADE,
    method  TEXT    NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (account, method)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE floods;
DROP TABLE outcomes;
DROP TABLE peer_usernames;
DROP TABLE peers;
DROP TABLE leases;
DROP TABLE workers;
DROP TABLE sessions;
DROP TABLE accounts;
