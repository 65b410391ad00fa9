package tgsim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Lifetimes and bounds of what a login leaves behind until it is done.
const (
	codeLife   = 5 * time.Minute
	exportLife = time.Minute
	maxLogins  = 4_096 // codes, exports and QR tokens, each
	codeDigits = 5
)

// logins is what the data centres of a world know about logins in progress.
type logins struct {
	mu        sync.Mutex // guards below; taken after world.mu, before a key's
	codes     map[string]*loginCode
	ways      map[string]waysOf
	exports   map[string]*exportedLogin
	qr        map[string]*qrToken
	passwords map[int64]*password
	tokens    map[string]botToken // every token ever given
	tokenOf   map[int64]string    // the bots' tokens of now
}

func newLogins() *logins {
	return &logins{
		codes:     map[string]*loginCode{},
		ways:      map[string]waysOf{},
		exports:   map[string]*exportedLogin{},
		qr:        map[string]*qrToken{},
		passwords: map[int64]*password{},
		tokens:    map[string]botToken{},
		tokenOf:   map[int64]string{},
	}
}

// loginCode is what auth.sendCode made.
type loginCode struct {
	hash, code string
	until      time.Time
	canceled   bool
	way        CodeWay
	nth        int // of the ways
}

// keyLogin is how far the login of a key has come; the key's mutex guards it.
type keyLogin struct {
	waiting int64 // the user whose password is asked for, 0 if none
	srp     *srpRound
}

// invokeAuth runs the methods of logins; false when the method is none of them.
// See core.telegram.org/api/auth.
func (s *Server) invokeAuth(c *call, user int64, rec *Call) (bin.Encoder, *rpcError, bool) {
	var (
		out    bin.Encoder
		failed *rpcError
	)
	switch c.method {
	case tg.AuthSendCodeRequestTypeID:
		out, failed = s.sendCode(c)
	case tg.AuthResendCodeRequestTypeID:
		out, failed = s.resendCode(c)
	case tg.AuthCancelCodeRequestTypeID:
		out, failed = s.cancelCode(c)
	case tg.AuthSignInRequestTypeID:
		out, failed = s.signIn(c)
	case tg.AuthSignUpRequestTypeID:
		out, failed = s.signUp(c)
	case tg.AuthLogOutRequestTypeID:
		out, failed = s.logOut(c, user)
	case tg.AuthImportBotAuthorizationRequestTypeID:
		out, failed = s.importBot(c)
	case tg.AccountGetPasswordRequestTypeID:
		out, failed = s.getPassword(c, user)
	case tg.AuthCheckPasswordRequestTypeID:
		out, failed = s.checkPassword(c, user)
	case tg.AuthExportLoginTokenRequestTypeID:
		out, failed = s.exportLoginToken(c, user)
	case tg.AuthImportLoginTokenRequestTypeID:
		out, failed = s.importLoginToken(c)
	case tg.AuthAcceptLoginTokenRequestTypeID:
		out, failed = s.acceptLoginToken(c, user, rec.Time)
	case tg.AuthExportAuthorizationRequestTypeID:
		out, failed = s.exportAuthorization(c, user)
	case tg.AuthImportAuthorizationRequestTypeID:
		out, failed = s.importAuthorization(c)
	case tg.AuthBindTempAuthKeyRequestTypeID:
		out, failed = s.bindTempAuthKey(c)
	default:
		return nil, nil, false
	}
	return out, failed, true
}

var (
	errUnauthorized = &rpcError{401, "AUTH_KEY_UNREGISTERED"}
	errAPIID        = &rpcError{400, "API_ID_INVALID"}
	errPhone        = &rpcError{400, "PHONE_NUMBER_INVALID"}
	errCodeExpired  = &rpcError{400, "PHONE_CODE_EXPIRED"}
)

// digits is a phone number without "+", spaces and the like; "" when it is none
// (ITU-T E.164 allows 15 digits; the shortest in use have 5).
func digits(phone string) string {
	var b strings.Builder
	for _, r := range phone {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case r == '+' && b.Len() == 0, r == ' ', r == '-', r == '(', r == ')':
		default:
			return ""
		}
	}
	if n := b.Len(); n < 5 || n > 15 {
		return ""
	}
	return b.String()
}

// byPhone finds the user with that number, given as digits.
func (w *world) byPhone(number string) (User, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, a := range w.users {
		if !a.Bot && a.Phone != "" && digits(a.Phone) == number {
			return a.User, true
		}
	}
	return User{}, false
}

// apiOK judges the pair every login begins with: it must be there. Which pairs
// exist is not simulated.
func apiOK(id int, hash string) bool { return id > 0 && hash != "" }

// sendCode: core.telegram.org/method/auth.sendCode. A number nobody has gets a
// code as well: auth.signIn is where Telegram says that it is free.
func (s *Server) sendCode(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthSendCodeRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if !apiOK(req.APIID, req.APIHash) {
		return nil, errAPIID
	}
	number := digits(req.PhoneNumber)
	if number == "" {
		return nil, errPhone
	}
	if u, ok := s.world.byPhone(number); ok {
		if err := s.elsewhere(u.ID, "PHONE_MIGRATE_"); err != nil {
			return nil, err
		}
	}
	return s.newCode(number, 0)
}

// newCode makes the nth code of a login.
func (s *Server) newCode(number string, nth int) (bin.Encoder, *rpcError) {
	now := time.Now()
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.codes) >= maxLogins {
		for n, old := range l.codes {
			if !old.until.After(now) {
				delete(l.codes, n)
			}
		}
	}
	if _, known := l.codes[number]; !known && len(l.codes) >= maxLogins {
		return nil, &rpcError{400, "PHONE_NUMBER_FLOOD"}
	}
	ways := l.ways[number]
	way, ok := ways.way(nth)
	if !ok {
		return nil, &rpcError{406, "SEND_CODE_UNAVAILABLE"}
	}
	made := &loginCode{hash: randomHex(9), code: way.code(), until: now.Add(codeLife), way: way, nth: nth}
	l.codes[number] = made
	sent := &tg.AuthSentCode{Type: way.sent(), PhoneCodeHash: made.hash}
	if next, ok := ways.way(nth + 1); ok && len(ways.ways) > 0 {
		if t := next.next(); t != nil {
			sent.SetNextType(t)
		}
		if ways.timeout > 0 {
			sent.SetTimeout(int(ways.timeout / time.Second))
		}
	}
	return sent, nil
}

// codeLocked finds the code that hash stands for. It requires l.mu.
func (l *logins) codeLocked(number, hash string) (*loginCode, *rpcError) {
	made, ok := l.codes[number]
	switch {
	case hash == "":
		return nil, &rpcError{400, "PHONE_CODE_HASH_EMPTY"}
	case !ok || made.hash != hash || made.canceled || !made.until.After(time.Now()):
		return nil, errCodeExpired
	}
	return made, nil
}

// resendCode: core.telegram.org/method/auth.resendCode. The hash and the code
// change, as with a second sendCode.
func (s *Server) resendCode(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthResendCodeRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	number := digits(req.PhoneNumber)
	if number == "" {
		return nil, errPhone
	}
	l := s.world.logins
	l.mu.Lock()
	made, failed := l.codeLocked(number, req.PhoneCodeHash)
	l.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	return s.newCode(number, made.nth+1)
}

// cancelCode: core.telegram.org/method/auth.cancelCode.
func (s *Server) cancelCode(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthCancelCodeRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	number := digits(req.PhoneNumber)
	if number == "" {
		return nil, errPhone
	}
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	made, failed := l.codeLocked(number, req.PhoneCodeHash)
	if failed != nil {
		return nil, failed
	}
	made.canceled = true
	return &tg.BoolTrue{}, nil
}

// signIn: core.telegram.org/method/auth.signIn. A wrong code leaves the right
// one valid; the right one works once. One that came by email has a place of its own.
func (s *Server) signIn(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthSignInRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	number := digits(req.PhoneNumber)
	if number == "" {
		return nil, errPhone
	}
	u, known := s.world.byPhone(number)
	if known {
		if err := s.elsewhere(u.ID, "PHONE_MIGRATE_"); err != nil {
			return nil, err
		}
	}
	if err := s.useCode(number, &req, known); err != nil {
		return nil, err
	}
	if !known {
		return &tg.AuthAuthorizationSignUpRequired{}, nil
	}
	return s.enter(c, u.ID)
}

// useCode checks a code; spend takes it out of use.
func (s *Server) useCode(number string, req *tg.AuthSignInRequest, spend bool) *rpcError {
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	made, failed := l.codeLocked(number, req.PhoneCodeHash)
	if failed != nil {
		return failed
	}
	code := req.PhoneCode
	if made.way == CodeByEmail {
		mail, _ := req.EmailVerification.(*tg.EmailVerificationCode)
		code = mail.GetCode()
	}
	switch {
	case code == "":
		return &rpcError{400, "PHONE_CODE_EMPTY"}
	case code != made.code:
		return &rpcError{400, "PHONE_CODE_INVALID"}
	}
	if spend {
		delete(l.codes, number)
	}
	return nil
}

// signUp: core.telegram.org/method/auth.signUp. Nobody registers here: users
// are made by AddUser. Telegram refuses it to apps of third parties, too.
func (s *Server) signUp(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthSignUpRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	number := digits(req.PhoneNumber)
	if number == "" {
		return nil, errPhone
	}
	if _, known := s.world.byPhone(number); known {
		return nil, &rpcError{400, "PHONE_NUMBER_OCCUPIED"}
	}
	l := s.world.logins
	l.mu.Lock()
	_, failed := l.codeLocked(number, req.PhoneCodeHash)
	l.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	if strings.TrimSpace(req.FirstName) == "" {
		return nil, &rpcError{400, "FIRSTNAME_INVALID"}
	}
	return nil, &rpcError{406, "UPDATE_APP_TO_LOGIN"}
}

// enter ends a login whose first factor was right: with a password on the
// account the key has to show it, else the key is authorized.
func (s *Server) enter(c *call, user int64) (bin.Encoder, *rpcError) {
	k := c.sess.key.owner()
	if s.locked(user) {
		k.mu.Lock()
		k.login.waiting = user
		k.mu.Unlock()
		return nil, &rpcError{401, "SESSION_PASSWORD_NEEDED"}
	}
	return s.authorized(k, user), nil
}

// authorized makes k a key of user and is the answer that says so.
func (s *Server) authorized(k *authKey, user int64) *tg.AuthAuthorization {
	s.authorize(k, user)
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	return &tg.AuthAuthorization{User: w.tgUserLocked(user, w.users[user])}
}

// authorize gives a key to a user, 0 takes it away. Updates follow: the key's
// sessions stop to hear of the old user and begin to hear of the new one.
func (s *Server) authorize(k *authKey, user int64) {
	k.mu.Lock()
	old := k.user
	k.user = user
	k.login = keyLogin{}
	if k.refusal == errUnauthorized { // revoked, see RevokeSessions
		k.refusal = nil
	}
	k.mu.Unlock()
	sessions := k.sessionsUnder(s)
	s.mu.Lock()
	for _, sess := range sessions {
		delete(s.online[old], sess)
	}
	if len(s.online[old]) == 0 {
		delete(s.online, old)
	}
	s.mu.Unlock()
	for _, sess := range k.subscribed(s) {
		s.goOnline(sess)
	}
}

// sessionsUnder lists the sessions of k and of the temporary keys bound to it.
func (k *authKey) sessionsUnder(s *Server) []*session {
	var all []*session
	for _, other := range s.keysOf(0) {
		if other.owner() != k {
			continue
		}
		other.mu.Lock()
		for _, sess := range other.sessions {
			all = append(all, sess)
		}
		other.mu.Unlock()
	}
	return all
}

// subscribed is the connected ones among sessionsUnder that take updates.
func (k *authKey) subscribed(s *Server) []*session {
	var out []*session
	for _, sess := range k.sessionsUnder(s) {
		sess.mu.Lock()
		if sess.updates && sess.conn != nil {
			out = append(out, sess)
		}
		sess.mu.Unlock()
	}
	return out
}

// logOut: core.telegram.org/method/auth.logOut.
func (s *Server) logOut(c *call, user int64) (bin.Encoder, *rpcError) {
	if err := decode(c, &tg.AuthLogOutRequest{}); err != nil {
		return nil, err
	}
	if user == 0 {
		return nil, errUnauthorized
	}
	s.authorize(c.sess.key.owner(), 0)
	return &tg.AuthLoggedOut{}, nil
}

// LoginCode is the code that auth.sendCode made for a phone number last; false
// when there is none that works.
func (s *Server) LoginCode(phone string) (string, bool) {
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	made, ok := l.codes[digits(phone)]
	if !ok || made.canceled || !made.until.After(time.Now()) {
		return "", false
	}
	return made.code, true
}

// ExpireLoginCode makes the code of a phone number too old: using it gets
// PHONE_CODE_EXPIRED. It reports whether there was one.
func (s *Server) ExpireLoginCode(phone string) bool {
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	made, ok := l.codes[digits(phone)]
	if ok {
		made.until = time.Now()
	}
	return ok
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return b
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }

func randomDigits(n int) string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	v, _ := rand.Int(rand.Reader, limit) // never fails, see crypto/rand
	return fmt.Sprintf("%0*d", n, v)
}
