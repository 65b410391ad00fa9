package tgsim

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// botToken is one token that was given to a bot.
type botToken struct {
	bot     int64
	revoked bool // a newer one took its place
}

// tokenPattern is the form of core.telegram.org/bots/api#authorizing-your-bot.
var tokenPattern = regexp.MustCompile(`^[0-9]{1,19}:[A-Za-z0-9_-]{8,64}$`)

// BotToken is the token that signs a bot in, made when first asked for; false
// when userID is no bot.
func (s *Server) BotToken(userID int64) (string, bool) {
	u, ok := s.world.user(userID)
	if !ok || !u.Bot {
		return "", false
	}
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	token, ok := l.tokenOf[userID]
	if !ok {
		token = fmt.Sprintf("%d:%s", userID, base64.RawURLEncoding.EncodeToString(randomBytes(26)))
		l.tokenOf[userID] = token
		l.tokens[token] = botToken{bot: userID}
	}
	return token, true
}

// SetBotToken gives a bot the token it has from now on: its id, ":" and 8 to 64
// letters, digits, _ or -. The one before is expired.
func (s *Server) SetBotToken(userID int64, token string) error {
	u, ok := s.world.user(userID)
	if !ok || !u.Bot {
		return fmt.Errorf("tgsim: user %d is no bot", userID)
	}
	if err := checkToken(userID, token); err != nil {
		return err
	}
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.tokenOf[userID]; ok {
		l.tokens[old] = botToken{bot: userID, revoked: true}
	}
	l.tokenOf[userID] = token
	l.tokens[token] = botToken{bot: userID}
	return nil
}

func checkToken(userID int64, token string) error {
	id, _, _ := strings.Cut(token, ":")
	if !tokenPattern.MatchString(token) || id != strconv.FormatInt(userID, 10) {
		return fmt.Errorf("tgsim: a token of bot %d is %d:<8 to 64 letters, digits, _ or ->", userID, userID)
	}
	return nil
}

// importBot: core.telegram.org/method/auth.importBotAuthorization.
func (s *Server) importBot(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthImportBotAuthorizationRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if !apiOK(req.APIID, req.APIHash) {
		return nil, errAPIID
	}
	l := s.world.logins
	l.mu.Lock()
	t, ok := l.tokens[req.BotAuthToken]
	l.mu.Unlock()
	switch {
	case !ok:
		return nil, &rpcError{400, "ACCESS_TOKEN_INVALID"}
	case t.revoked:
		return nil, &rpcError{400, "ACCESS_TOKEN_EXPIRED"}
	}
	if err := s.elsewhere(t.bot, "USER_MIGRATE_"); err != nil {
		return nil, err
	}
	return s.authorized(c.sess.key.owner(), t.bot), nil
}
