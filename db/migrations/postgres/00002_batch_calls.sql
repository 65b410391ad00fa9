-- What became of single calls of a batch that has no outcome yet.

-- +goose Up
CREATE TABLE batch_calls (
    job     text COLLATE "C" NOT NULL,
    call    integer NOT NULL, -- index, from 0
    account text COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE,
    result  json NOT NULL,
    PRIMARY KEY (job, call)
);
CREATE INDEX batch_calls_account ON batch_calls (account);

-- +goose Down
DROP TABLE batch_calls;
