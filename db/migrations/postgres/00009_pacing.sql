-- How fast an account may be at most, as accounts.Pace writes it; '' is as fast as its
-- worker lets it. Workers of the version before neither read nor write it.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS pace text NOT NULL DEFAULT '';
DROP INDEX CONCURRENTLY IF EXISTS accounts_pace; -- an attempt that failed leaves a broken one
CREATE INDEX CONCURRENTLY accounts_pace ON accounts (id) WHERE pace <> '';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS accounts_pace;
ALTER TABLE accounts DROP COLUMN IF EXISTS pace;
