package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Accounts keeps accounts and their sealed sessions, and writes down what happens to
// them: see Events.
type Accounts struct {
	d      *DB
	who    string  // makes the changes
	origin *Origin // of accounts that are created; nil: they begin here
}

var _ accounts.Store = (*Accounts)(nil)

// Accounts returns the store of accounts.
func (d *DB) Accounts() *Accounts { return &Accounts{d: d} }

// By returns the store as a worker or an operator uses it, whose name stands in the
// events.
func (s *Accounts) By(who string) *Accounts { return &Accounts{s.d, who, s.origin} }

type accountRow struct {
	ID        string `gorm:"primaryKey"`
	Kind      string
	Status    string
	Reason    string
	UserID    int64
	AuthKeyID *string
	DC        int    `gorm:"column:dc"`
	Proxy     string // as it may be shown; in the clear in rows of older versions
	APIID     int    `gorm:"column:api_id"`
	Secrets   []byte
	Device    accounts.Device   `gorm:"serializer:json"`
	Labels    map[string]string `gorm:"serializer:json"`
	Pace      pace
	CreatedAt stamp `gorm:"autoCreateTime:false"`
	UpdatedAt stamp `gorm:"autoUpdateTime:false"`

	StatusSince stamp
}

func (accountRow) TableName() string { return "accounts" }

func (r *accountRow) account() accounts.Account {
	var key string
	if r.AuthKeyID != nil {
		key = *r.AuthKeyID
	}
	return accounts.Account{
		KeyID: key,
		ID:    accounts.ID(r.ID), Kind: accounts.Kind(r.Kind), Status: accounts.Status(r.Status), Reason: r.Reason,
		Since: r.StatusSince.Time, UserID: r.UserID, DC: r.DC, Proxy: accounts.Proxy(r.Proxy), APIID: r.APIID, Secrets: r.Secrets, Device: r.Device, Labels: r.Labels, Pace: r.Pace.Pace,
		CreatedAt: r.CreatedAt.Time, UpdatedAt: r.UpdatedAt.Time,
	}
}

type sessionRow struct {
	Account   string `gorm:"primaryKey"`
	Sealed    []byte
	UpdatedAt stamp `gorm:"autoUpdateTime:false"`
}

func (sessionRow) TableName() string { return "sessions" }

// errNoSession: a mistake of the caller; the account could never be used.
var errNoSession = errors.New("the sealed session is empty")

// CreateAccount stores the account, its sealed session and the event in one
// transaction; accounts.ErrExists if the name is taken, an *accounts.DuplicateError if
// another account has the auth key. It sets times that are zero.
func (s *Accounts) CreateAccount(ctx context.Context, a accounts.Account, sealed []byte) error {
	if len(sealed) == 0 {
		return s.d.fail(ctx, "insert account "+string(a.ID), errNoSession)
	}
	now := stamp{exact(time.Now())}
	row := accountRow{
		ID: string(a.ID), Kind: string(a.Kind), Status: string(a.Status), Reason: a.Reason, UserID: a.UserID,
		DC: a.DC, Proxy: string(a.Proxy), APIID: a.APIID, Secrets: a.Secrets, Device: a.Device, Labels: a.Labels, Pace: pace{a.Pace},
		CreatedAt: stamp{exact(a.CreatedAt)}, UpdatedAt: stamp{exact(a.UpdatedAt)}, StatusSince: stamp{exact(a.Since)},
	}
	if row.CreatedAt.IsZero() {
		row.CreatedAt = now
	}
	if row.UpdatedAt.IsZero() {
		row.UpdatedAt = row.CreatedAt
	}
	if row.StatusSince.IsZero() {
		row.StatusSince = row.CreatedAt
	}
	if a.KeyID != "" {
		row.AuthKeyID = &a.KeyID
	}
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.origin.admit(tx, s.d, a); err != nil {
			return err
		}
		made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if made.Error == nil && made.RowsAffected == 0 {
			return whoHas(tx, a)
		}
		if made.Error != nil {
			return made.Error
		}
		if err := tx.Create(&sessionRow{Account: string(a.ID), Sealed: sealed, UpdatedAt: now}).Error; err != nil {
			return err
		}
		if err := s.origin.savePeers(ctx, tx, s.d, a.ID); err != nil {
			return err
		}
		return s.d.addEvent(tx, accounts.Event{Account: a.ID, Kind: accounts.EventAdded, To: a.Status, Reason: s.origin.told(a), Who: s.who})
	})
	return s.d.fail(ctx, "insert account "+string(a.ID), err)
}

// Account returns accounts.ErrNotFound for an unknown name.
func (s *Accounts) Account(ctx context.Context, id accounts.ID) (accounts.Account, error) {
	var rows []accountRow
	err := s.d.run(ctx).Where("id = ?", string(id)).Find(&rows).Error
	if err == nil && len(rows) == 0 {
		err = accounts.ErrNotFound
	}
	if err != nil {
		return accounts.Account{}, s.d.fail(ctx, "read account "+string(id), err)
	}
	return rows[0].account(), nil
}

// Accounts lists by name, byte by byte, at most limit of those after the given
// name.
func (s *Accounts) Accounts(ctx context.Context, after accounts.ID, limit int) ([]accounts.Account, error) {
	if limit <= 0 {
		return nil, nil
	}
	var rows []accountRow
	err := s.d.run(ctx).Where("id > ?", string(after)).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, fmt.Sprintf("list accounts after %q", after), err)
	}
	as := make([]accounts.Account, len(rows))
	for i := range rows {
		as[i] = rows[i].account()
	}
	return as, nil
}

// SetUserID returns accounts.ErrNotFound for an unknown name.
func (s *Accounts) SetUserID(ctx context.Context, id accounts.ID, userID int64) error {
	return s.update(ctx, "set user id of", id, map[string]any{"user_id": userID})
}

func (s *Accounts) update(ctx context.Context, op string, id accounts.ID, set map[string]any) error {
	set["updated_at"] = s.d.time(time.Now())
	done := s.d.run(ctx).Model(&accountRow{}).Where("id = ?", string(id)).UpdateColumns(set)
	err := done.Error
	if err == nil && done.RowsAffected == 0 {
		err = accounts.ErrNotFound
	}
	return s.d.fail(ctx, op+" account "+string(id), err)
}

// Session returns the sealed session; accounts.ErrNotFound if there is none.
func (s *Accounts) Session(ctx context.Context, id accounts.ID) ([]byte, error) {
	var rows []sessionRow
	err := s.d.run(ctx).Where("account = ?", string(id)).Find(&rows).Error
	if err == nil && len(rows) == 0 {
		err = accounts.ErrNotFound
	}
	if err != nil {
		return nil, s.d.fail(ctx, "read session row "+string(id), err)
	}
	return rows[0].Sealed, nil
}

// saveSession also locks the account and the lease in Postgres: a new login, or a grant
// to a successor, comes wholly before the write, which then fails, or wholly after it.
const saveSession = `UPDATE sessions SET sealed = @sealed , updated_at = @now WHERE account = @account AND EXISTS (
	SELECT 1 FROM accounts WHERE id = @account AND coalesce(auth_key_id, @key ) = @key {lock}) AND EXISTS (
	SELECT 1 FROM leases WHERE account = @account AND token = @token AND worker = @worker {lock})`

// SaveSession replaces the sealed session while the lease is in force: one
// statement. It returns accounts.ErrLeaseLost if the lease is another's by now,
// accounts.ErrOtherKey if the account has another auth key, accounts.ErrNotFound if there
// is no session to replace.
func (s *Accounts) SaveSession(ctx context.Context, l accounts.Lease, keyID string, sealed []byte) error {
	op := fmt.Sprintf("write session row %s under token %d", l.Account, l.Token)
	if len(sealed) == 0 {
		return s.d.fail(ctx, op, errNoSession)
	}
	lock := "FOR SHARE"
	if s.d.lite {
		lock = ""
	}
	done := s.d.run(ctx).Exec(strings.ReplaceAll(saveSession, "{lock}", lock), map[string]any{
		"sealed": sealed, "now": s.d.time(time.Now()), "key": keyID,
		"account": string(l.Account), "token": l.Token, "worker": l.Worker,
	})
	if done.Error != nil || done.RowsAffected > 0 {
		return s.d.fail(ctx, op, done.Error)
	}
	var has []string
	err := s.d.run(ctx).Raw("SELECT coalesce(a.auth_key_id, '') FROM sessions AS s JOIN accounts AS a ON a.id = s.account WHERE s.account = ?", string(l.Account)).Scan(&has).Error
	switch {
	case err != nil:
	case len(has) == 0:
		err = accounts.ErrNotFound
	case has[0] != "" && has[0] != keyID:
		err = accounts.ErrOtherKey
	default:
		err = accounts.ErrLeaseLost
	}
	return s.d.fail(ctx, op, err)
}
