-- Settings of accounts that are secret are sealed: a proxy's password, an application's
-- hash. Column proxy then has what may be shown. Workers of the version before cannot
-- connect through such a proxy, and do not connect without it either. An account with an
-- application of its own has the deployment's there. A proxy that was stored before stays
-- in the clear until it is set again.

-- +goose Up
ALTER TABLE accounts ADD COLUMN api_id integer NOT NULL DEFAULT 0; -- 0: the deployment's
ALTER TABLE accounts ADD COLUMN secrets bytea;

-- +goose Down
ALTER TABLE accounts DROP COLUMN secrets;
ALTER TABLE accounts DROP COLUMN api_id;
