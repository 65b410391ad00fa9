package main

import (
	"context"
	"strconv"

	"github.com/tgswitchboard/switchboard/accounts/sessionfile"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// inspected is what is shown of a session that is not stored.
type inspected struct {
	Format    sessionfile.Format `json:"format"`
	DC        int                `json:"dc"`
	Address   string             `json:"address,omitempty"` // Telegram's own if the format says none
	Port      int                `json:"port,omitempty"`
	UserID    int64              `json:"user_id,omitempty"`
	Bot       *bool              `json:"bot,omitempty"`
	Test      bool               `json:"test"`
	AuthKeyID string             `json:"auth_key_id"` // hex of the last 8 bytes of its SHA-1
	Peers     int                `json:"peers,omitempty"`
}

// inspect shows the sessions at a path, or on stdin for "-". It needs neither a database
// nor a key, and keeps nothing.
func inspect(ctx context.Context, env *cli.Env, path string, o sessionfile.Options) error {
	found, err := readSessions(ctx, env, path, o)
	if err != nil {
		return err
	}
	table := env.Out.Table("FORMAT", "DC", "ADDRESS", "PORT", "USER ID", "BOT", "TEST", "AUTH KEY ID", "PEERS")
	for _, f := range found {
		v := inspected{Format: f.Format, DC: f.Session.DC, UserID: f.UserID, Bot: f.Bot, Test: f.Test, AuthKeyID: f.Session.Key.IDText(), Peers: len(f.Peers)}
		v.Address, v.Port, _ = sessionfile.Address(f.Session) // none is known of an unusual data center
		if err := env.Out.Object(v); err != nil {
			return err
		}
		bot := ""
		if v.Bot != nil {
			bot = strconv.FormatBool(*v.Bot)
		}
		table.Row(string(v.Format), strconv.Itoa(v.DC), v.Address, number(int64(v.Port)), number(v.UserID), bot, strconv.FormatBool(v.Test), v.AuthKeyID, number(int64(v.Peers)))
	}
	return table.Flush()
}

// readSessions reads what is at a path, or on stdin for "-". Its error is one of usage:
// somebody has named the wrong thing.
func readSessions(ctx context.Context, env *cli.Env, path string, o sessionfile.Options) (found []sessionfile.Found, err error) {
	if path == "-" {
		found, err = sessionfile.ReadFrom(ctx, cli.Reader(ctx, env.Stdin), o)
	} else {
		found, err = sessionfile.Read(ctx, path, o)
	}
	if err != nil && ctx.Err() == nil {
		return nil, cli.Usage("%s: %w", path, err)
	}
	return found, err
}
