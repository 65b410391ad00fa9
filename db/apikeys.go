package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	gosqlite "github.com/glebarez/go-sqlite"

	"github.com/tgswitchboard/switchboard/jobs/apikey"
)

// APIKeys keeps the keys of the HTTP gateway. It never has a secret, only its hash.
type APIKeys struct{ d *DB }

// APIKeys returns the store of the gateway's keys.
func (o *Outcomes) APIKeys() *APIKeys { return &APIKeys{o.d} }

type apiKeyRow struct {
	Name      string `gorm:"primaryKey"`
	Hash      []byte
	Scope     string
	Rate      float64
	CreatedAt stamp
	CreatedBy string
	ExpiresAt stamp
	RevokedAt stamp
	RevokedBy string
}

func (apiKeyRow) TableName() string { return "api_keys" }

func (r *apiKeyRow) key() (apikey.Key, error) {
	k := apikey.Key{
		Name: r.Name, Rate: r.Rate, CreatedAt: r.CreatedAt.Time, CreatedBy: r.CreatedBy,
		ExpiresAt: r.ExpiresAt.Time, RevokedAt: r.RevokedAt.Time, RevokedBy: r.RevokedBy,
	}
	if copy(k.Hash[:], r.Hash) != len(k.Hash) || len(r.Hash) != len(k.Hash) {
		return k, fmt.Errorf("the hash of API key %s has %d bytes", r.Name, len(r.Hash))
	}
	if err := json.Unmarshal([]byte(r.Scope), &k.Scope); err != nil {
		return k, fmt.Errorf("the scope of API key %s: %w", r.Name, err)
	}
	return k, nil
}

const createAPIKey = `INSERT INTO api_keys (name, hash, scope, rate, created_at, created_by, expires_at)
	VALUES (@name, @hash, @scope, @rate, {now}, @by, @expires)`

// Create stores a key; apikey.ErrExists if its name was used before. When it was made
// is what the database's clock says.
func (s *APIKeys) Create(ctx context.Context, k apikey.Key) error {
	op := "create API key " + k.Name
	if err := k.Validate(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	scope, err := json.Marshal(k.Scope)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	err = s.d.run(ctx).Exec(s.d.sql(createAPIKey), map[string]any{
		"name": k.Name, "hash": k.Hash[:], "scope": string(scope), "rate": k.Rate, "by": text(k.CreatedBy), "expires": s.d.time(k.ExpiresAt),
	}).Error
	if isDuplicate(err) {
		err = apikey.ErrExists
	}
	return s.d.fail(ctx, op, err)
}

// Revoke ends a key now; apikey.ErrNotFound if there is none. One that is revoked
// stays as it is.
func (s *APIKeys) Revoke(ctx context.Context, name, by string) error {
	op := "revoke API key " + name
	done := s.d.run(ctx).Exec(s.d.sql("UPDATE api_keys SET revoked_by = CASE WHEN revoked_at IS NULL THEN @by ELSE revoked_by END, "+
		"revoked_at = coalesce(revoked_at, {now}) WHERE name = @name"), map[string]any{"name": text(name), "by": text(by)})
	err := done.Error
	if err == nil && done.RowsAffected == 0 {
		err = apikey.ErrNotFound
	}
	return s.d.fail(ctx, op, err)
}

// List returns all keys by name, those that are revoked too.
func (s *APIKeys) List(ctx context.Context) ([]apikey.Key, error) { return s.list(ctx, "1 = 1") }

// Live returns the keys that are not revoked. Some may have expired.
func (s *APIKeys) Live(ctx context.Context) ([]apikey.Key, error) {
	return s.list(ctx, "revoked_at IS NULL")
}

func (s *APIKeys) list(ctx context.Context, where string) ([]apikey.Key, error) {
	var rows []apiKeyRow
	if err := s.d.run(ctx).Where(where).Order("name").Find(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "list API keys", err)
	}
	keys := make([]apikey.Key, len(rows))
	for i := range rows {
		var err error
		if keys[i], err = rows[i].key(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// isDuplicate tells a row whose unique key is taken.
func isDuplicate(err error) bool {
	var pg *pgconn.PgError
	var lite *gosqlite.Error
	return errors.As(err, &pg) && pg.Code == "23505" ||
		errors.As(err, &lite) && (lite.Code() == liteConstraint|6<<8 || lite.Code() == liteConstraint|8<<8)
}
