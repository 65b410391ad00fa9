-- Which auth key an account's session has, whose use an account is kept for, and events
-- that outlive their accounts. Workers of the version before go on: they neither read
-- nor write the new columns, and what they add to account_events they add for accounts
-- that exist.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE accounts
    -- 16 hex digits: the last 8 bytes of the auth key's SHA-1, which every packet to
    -- Telegram shows in clear. NULL where a program of the version before has added the
    -- account; whoever imports with the key fills it in. No two accounts have one key.
    ADD COLUMN IF NOT EXISTS auth_key_id text COLLATE "C",
    -- Until then no worker is granted the account, and the one that holds it gives it back.
    ADD COLUMN IF NOT EXISTS reserved_until timestamptz;

-- What was done with an account is kept when it is removed.
ALTER TABLE account_events DROP CONSTRAINT IF EXISTS account_events_account_fkey;

DROP INDEX CONCURRENTLY IF EXISTS accounts_auth_key_id; -- an attempt that failed leaves a broken one
CREATE UNIQUE INDEX CONCURRENTLY accounts_auth_key_id ON accounts (auth_key_id);
DROP INDEX CONCURRENTLY IF EXISTS accounts_user_id;
CREATE INDEX CONCURRENTLY accounts_user_id ON accounts (user_id) WHERE user_id <> 0;

-- +goose Down
DROP INDEX CONCURRENTLY accounts_user_id;
DROP INDEX CONCURRENTLY accounts_auth_key_id;
DELETE FROM account_events WHERE account NOT IN (SELECT id FROM accounts);
ALTER TABLE account_events ADD CONSTRAINT account_events_account_fkey FOREIGN KEY (account) REFERENCES accounts ON DELETE CASCADE;
ALTER TABLE accounts DROP COLUMN auth_key_id, DROP COLUMN reserved_until;
