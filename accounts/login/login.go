package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Config says how to reach Telegram, and as what client.
type Config struct {
	APIID   int    // the application's id; required
	APIHash string // its hash; only logins need it

	DC         int                  // where a login begins; default 2, or the lowest of DCs
	DCs        map[int]string       // host:port by data center; default: Telegram's own, else nothing else is dialled
	PublicKeys []telegram.PublicKey // of the servers; default: Telegram's

	Proxy  accounts.Proxy
	Device accounts.Device // what Telegram is told about the client; defaults as the pool's

	ConnectTimeout time.Duration // default 30s
	CallTimeout    time.Duration // of one call; default 1m
	Log            *slog.Logger  // default: none
}

func (c Config) withDefaults() Config {
	if c.DC == 0 {
		c.DC = 2
		if _, ok := c.DCs[c.DC]; !ok && len(c.DCs) > 0 {
			c.DC = 0
			for dc := range c.DCs {
				if c.DC == 0 || dc < c.DC {
					c.DC = dc
				}
			}
		}
	}
	c.Device = c.Device.Or(accounts.DefaultDevice(""))
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 30*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Self is whose a session is.
type Self struct {
	UserID   int64
	Bot      bool
	Phone    string // digits; "" of a bot
	Username string // "" if there is none
	Name     string // as others see it
}

// Kind is the kind of account.
func (s Self) Kind() accounts.Kind {
	if s.Bot {
		return accounts.Bot
	}
	return accounts.User
}

func selfOf(u tg.UserClass) (Self, error) {
	user, ok := u.(*tg.User)
	if !ok || user.ID == 0 {
		return Self{}, errors.New("the answer does not say whose the session is")
	}
	return Self{
		UserID: user.ID, Bot: user.Bot, Phone: user.Phone, Username: user.Username,
		Name: strings.TrimSpace(user.FirstName + " " + user.LastName),
	}, nil
}

// Verify asks Telegram whose the session is. It returns the session with the salt that
// Telegram uses now. A session that Telegram does not accept is accounts.ErrNeedsLogin or
// accounts.ErrBanned.
func Verify(ctx context.Context, cfg Config, s accounts.Session) (Self, accounts.Session, error) {
	var self Self
	now, err := cfg.with(ctx, s, nil, func(ctx context.Context, c *client) (err error) {
		self, err = c.self(ctx)
		return err
	})
	if err != nil {
		return Self{}, accounts.Session{}, fmt.Errorf("verify the session: %w", err)
	}
	return self, now, nil
}

// LogOut ends the session at Telegram. One that Telegram does not accept any more is
// logged out already.
func LogOut(ctx context.Context, cfg Config, s accounts.Session) error {
	_, err := cfg.with(ctx, s, nil, func(ctx context.Context, c *client) error {
		_, err := c.api.AuthLogOut(ctx)
		return c.failed("auth.logOut", err)
	})
	if err != nil && !errors.Is(err, accounts.ErrNeedsLogin) {
		return fmt.Errorf("log the session out: %w", err)
	}
	return nil
}

// self asks who the session is.
func (c *client) self(ctx context.Context) (Self, error) {
	us, err := c.api.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}})
	if err != nil {
		return Self{}, c.failed("users.getUsers", err)
	}
	if len(us) != 1 {
		return Self{}, errors.New("users.getUsers: the answer does not hold the account itself")
	}
	return selfOf(us[0])
}
