package db

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts"
)

// SetPace returns accounts.ErrNotFound for an unknown name.
func (s *Accounts) SetPace(ctx context.Context, id accounts.ID, p accounts.Pace) error {
	return s.update(ctx, "set pace of", id, map[string]any{"pace": p.String()})
}

// Paces are those of the accounts that have one of their own: few, found by an index.
func (s *Accounts) Paces(ctx context.Context) (map[accounts.ID]accounts.Pace, error) {
	var rows []accountRow
	if err := s.d.run(ctx).Select("id", "pace").Where("pace <> ''").Find(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "read the paces of accounts", err)
	}
	paces := make(map[accounts.ID]accounts.Pace, len(rows))
	for _, r := range rows {
		paces[accounts.ID(r.ID)] = r.Pace.Pace
	}
	return paces, nil
}

// pace is an accounts.Pace in a row, as text.
type pace struct{ accounts.Pace }

// GormDataType is for gorm.
func (pace) GormDataType() string { return "string" }

// Value implements driver.Valuer.
func (p pace) Value() (driver.Value, error) { return p.String(), nil }

// Scan implements sql.Scanner.
func (p *pace) Scan(v any) (err error) {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("a pace in the database is a %T", v)
	}
	if p.Pace, err = accounts.ParsePace(text); err != nil {
		return fmt.Errorf("a pace in the database cannot be read; set it anew with worker accounts pace: %w", err)
	}
	return nil
}
