package tgsim

import (
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// maxExcept bounds the users a client says it is signed in as already.
const maxExcept = 256

// qrToken is what auth.exportLoginToken made, see core.telegram.org/api/qr-login.
type qrToken struct {
	key    *authKey // that shows it
	server *Server  // of key
	except []int64
	until  time.Time
	user   int64 // who accepted it, 0 if nobody
}

// exportLoginToken: core.telegram.org/method/auth.exportLoginToken. The key
// that shows a token calls it again after updateLoginToken to get in.
func (s *Server) exportLoginToken(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.AuthExportLoginTokenRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if !apiOK(req.APIID, req.APIHash) {
		return nil, errAPIID
	}
	if len(req.ExceptIDs) > maxExcept {
		return nil, errFetch
	}
	k := c.sess.key.owner()
	if user != 0 {
		return &tg.AuthLoginTokenSuccess{Authorization: s.authorized(k, user)}, nil
	}
	now := time.Now()
	l := s.world.logins
	l.mu.Lock()
	if len(l.qr) >= maxLogins {
		for token, t := range l.qr {
			if !t.until.After(now) {
				delete(l.qr, token)
			}
		}
		if len(l.qr) >= maxLogins {
			clear(l.qr)
		}
	}
	var accepted *qrToken
	var text string
	for token, t := range l.qr {
		if t.key != k {
			continue
		}
		if t.user != 0 && t.until.After(now) {
			accepted, text = t, token
			continue
		}
		delete(l.qr, token) // the new one takes its place
	}
	if accepted == nil {
		text = string(randomBytes(32))
		l.qr[text] = &qrToken{key: k, server: s, except: req.ExceptIDs, until: now.Add(s.cfg.LoginTokenLife)}
		l.mu.Unlock()
		return &tg.AuthLoginToken{Expires: int(now.Add(s.cfg.LoginTokenLife).Unix()), Token: []byte(text)}, nil
	}
	l.mu.Unlock()
	if dc := s.world.home(accepted.user); dc != s.cfg.DC {
		return &tg.AuthLoginTokenMigrateTo{DCID: dc, Token: []byte(text)}, nil
	}
	return s.enterByToken(c, text)
}

// importLoginToken: core.telegram.org/method/auth.importLoginToken, for a token
// that was shown in another data centre.
func (s *Server) importLoginToken(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthImportLoginTokenRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	return s.enterByToken(c, string(req.Token))
}

func (s *Server) enterByToken(c *call, text string) (bin.Encoder, *rpcError) {
	l := s.world.logins
	l.mu.Lock()
	t, failed := l.tokenLocked(text)
	if failed == nil && t.user == 0 {
		failed = &rpcError{400, "AUTH_TOKEN_INVALID"}
	}
	if failed == nil {
		delete(l.qr, text)
	}
	l.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	out, failed := s.enter(c, t.user)
	if failed != nil {
		return nil, failed
	}
	return &tg.AuthLoginTokenSuccess{Authorization: out.(*tg.AuthAuthorization)}, nil
}

// tokenLocked requires l.mu.
func (l *logins) tokenLocked(text string) (*qrToken, *rpcError) {
	t, ok := l.qr[text]
	switch {
	case !ok:
		return nil, &rpcError{400, "AUTH_TOKEN_INVALIDX"}
	case !t.until.After(time.Now()):
		return nil, &rpcError{400, "AUTH_TOKEN_EXPIRED"}
	}
	return t, nil
}

// acceptLoginToken: core.telegram.org/method/auth.acceptLoginToken. The key
// that shows the token hears of it by updateLoginToken.
func (s *Server) acceptLoginToken(c *call, user int64, now time.Time) (bin.Encoder, *rpcError) {
	var req tg.AuthAcceptLoginTokenRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if user == 0 {
		return nil, errUnauthorized
	}
	l := s.world.logins
	l.mu.Lock()
	t, failed := l.tokenLocked(string(req.Token))
	switch {
	case failed != nil:
	case t.user != 0:
		failed = &rpcError{400, "AUTH_TOKEN_ALREADY_ACCEPTED"}
	case slices.Contains(t.except, user):
		failed = &rpcError{400, "AUTH_TOKEN_EXCEPTION"}
	default:
		t.user = user
	}
	l.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	up := &tg.UpdateShort{Update: &tg.UpdateLoginToken{}, Date: int(now.Unix())}
	for _, sess := range t.key.subscribed(t.server) {
		sess.mu.Lock()
		conn := sess.conn
		sess.mu.Unlock()
		sess.send(conn, []*outMsg{{content: true, body: encodeReply(up).body}})
	}
	return &tg.Authorization{
		PasswordPending: s.locked(user),
		Hash:            randomLong(),
		DeviceModel:     "simulated",
		DateCreated:     int(now.Unix()),
		DateActive:      int(now.Unix()),
	}, nil
}

// LoginTokens are the tokens of QR codes that may be scanned now.
func (s *Server) LoginTokens() (tokens [][]byte) {
	now := time.Now()
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	for token, t := range l.qr {
		if t.user == 0 && t.until.After(now) {
			tokens = append(tokens, []byte(token))
		}
	}
	return tokens
}

// locked reports whether a user has a 2FA password.
func (s *Server) locked(user int64) bool {
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.passwords[user]
	return ok
}
