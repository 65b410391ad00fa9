package tgsim

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/crypto"
)

// maxSessions bounds the sessions remembered per key; those without a
// connection are forgotten first, the oldest of them first.
const maxSessions = 64

// Session is a ready-made authorization: an auth key that is signed in.
// It never prints its secrets.
type Session struct {
	DC      int
	UserID  int64
	AuthKey [256]byte
	Salt    int64
}

// String hides the key.
func (s Session) String() string {
	return fmt.Sprintf("Session{DC:%d UserID:%d}", s.DC, s.UserID)
}

// GoString hides the key from %#v.
func (s Session) GoString() string { return s.String() }

// Format hides the key from every verb.
func (s Session) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText hides the key from encoders; SessionJSON is the way to store it.
func (s Session) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the key.
func (s Session) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("dc", s.DC), slog.Int64("account", s.UserID))
}

// authKey is one authorization key and what the server knows under it.
type authKey struct {
	key crypto.AuthKey // immutable
	hex string         // immutable: the key's id

	mu       sync.Mutex // guards below
	user     int64      // 0 until authorized
	refusal  *rpcError  // answers every call once set
	layer    int        // of the last invokeWithLayer
	inited   bool       // initConnection was seen
	client   Client     // what it said last
	salts    saltChain
	sessions map[int64]*session
	calls    map[*conn]struct{} // open connections that carried API calls
	frames   int                // accepted since the last rotation of salts
	login    keyLogin

	expires time.Time               // immutable: zero for a permanent key
	perm    atomic.Pointer[authKey] // what a temporary key is bound to
}

func newAuthKey(k crypto.AuthKey, salt int64, now time.Time) *authKey {
	return &authKey{
		key:      k,
		hex:      hex.EncodeToString(k.ID[:]),
		salts:    newSaltChain(salt, now),
		sessions: map[int64]*session{},
		calls:    map[*conn]struct{}{},
	}
}

// Client is what a client says of itself in initConnection; of long texts the beginning.
type Client struct {
	APIID                                  int
	DeviceModel, SystemVersion, AppVersion string
	SystemLangCode, LangPack, LangCode     string
}

// Clients is what the keys of a user said of their clients last, in no order.
func (s *Server) Clients(userID int64) (said []Client) {
	for _, k := range s.keysOf(userID) {
		k.mu.Lock()
		if k.inited {
			said = append(said, k.client)
		}
		k.mu.Unlock()
	}
	return said
}

// account is the user signed in, 0 if none.
func (k *authKey) account() int64 {
	k = k.owner()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.user
}

// session returns the session of that id, made when new.
func (k *authKey) session(s *Server, id int64) *session {
	k.mu.Lock()
	defer k.mu.Unlock()
	if sess, ok := k.sessions[id]; ok {
		return sess
	}
	if len(k.sessions) >= maxSessions {
		k.evictLocked()
	}
	sess := newSession(s, k, id)
	k.sessions[id] = sess
	return sess
}

func (k *authKey) evictLocked() {
	var oldest *session
	for _, sess := range k.sessions {
		if sess.live() {
			continue
		}
		if oldest == nil || sess.created.Before(oldest.created) {
			oldest = sess
		}
	}
	if oldest != nil {
		delete(k.sessions, oldest.id)
	}
}

func (k *authKey) setLayer(layer int) {
	k.mu.Lock()
	k.layer = layer
	k.mu.Unlock()
}

// layerOf is the layer that answers are in, 0 before the first invokeWithLayer.
func (k *authKey) layerOf() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.layer
}

func (k *authKey) setClient(c Client) {
	k.mu.Lock()
	k.inited, k.client = true, c
	k.mu.Unlock()
}

func (k *authKey) refuse(e *rpcError) {
	k.mu.Lock()
	k.refusal = e
	k.mu.Unlock()
}

// NewSession returns a key that is authorized as userID without a login.
func (s *Server) NewSession(userID int64) (Session, error) {
	if _, ok := s.world.user(userID); !ok {
		return Session{}, fmt.Errorf("tgsim: no user %d", userID)
	}
	var key crypto.Key
	if _, err := rand.Read(key[:]); err != nil {
		return Session{}, fmt.Errorf("tgsim: make an auth key: %w", err)
	}
	salt := randomLong()
	k := newAuthKey(key.WithID(), salt, s.now())
	k.user = userID
	s.addKey(k)
	return Session{DC: s.cfg.DC, UserID: userID, AuthKey: key, Salt: salt}, nil
}

// RevokeSessions ends every authorization of the user: its keys stay known,
// their calls get 401 AUTH_KEY_UNREGISTERED until they log in again.
func (s *Server) RevokeSessions(userID int64) {
	for _, k := range s.keysOf(userID) {
		k.refuse(errUnauthorized)
	}
}

// ForgetKeys drops every key of the user: its frames get transport error -404
// from then on.
func (s *Server) ForgetKeys(userID int64) {
	for _, k := range s.keysOf(userID) {
		s.mu.Lock()
		delete(s.keys, k.key.ID)
		s.mu.Unlock()
	}
}

func (s *Server) addKey(k *authKey) {
	s.mu.Lock()
	s.keys[k.key.ID] = k
	s.mu.Unlock()
}

func (s *Server) findKey(id [8]byte) *authKey {
	s.mu.RLock()
	k := s.keys[id]
	s.mu.RUnlock()
	if k == nil || !k.expired(time.Now()) {
		return k
	}
	s.mu.Lock()
	delete(s.keys, id)
	s.mu.Unlock()
	return nil
}

// keysOf lists the keys of a user, 0 = all keys.
func (s *Server) keysOf(userID int64) []*authKey {
	s.mu.RLock()
	all := make([]*authKey, 0, len(s.keys))
	for _, k := range s.keys {
		all = append(all, k)
	}
	s.mu.RUnlock()
	if userID == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(k *authKey) bool { return k.account() != userID })
}

// duplicateGrace is how long an older connection has to close before a call on
// a newer one counts as AUTH_KEY_DUPLICATED: a client's close and its next
// dial may be seen in either order.
const duplicateGrace = 100 * time.Millisecond

// claim notes that an API call came over c, and looks for other open
// connections under the same key.
func (s *Server) claim(ctx context.Context, k *authKey, c *conn) {
	k.mu.Lock()
	_, known := k.calls[c]
	var others []*conn
	if !known {
		for o := range k.calls {
			select {
			case <-o.done:
				delete(k.calls, o)
			default:
				others = append(others, o)
			}
		}
		k.calls[c] = struct{}{}
	}
	k.mu.Unlock()
	if len(others) == 0 {
		return
	}
	judge := func() {
		if !stillOpen(ctx, c, others) {
			return
		}
		s.stats.duplicated.Add(1)
		if s.cfg.OneConnectionPerKey {
			// core.telegram.org/api/errors#406-not-acceptable
			k.refuse(&rpcError{406, "AUTH_KEY_DUPLICATED"})
		}
	}
	if s.cfg.OneConnectionPerKey {
		judge() // before the call runs
		return
	}
	s.wg.Go(judge)
}

// stillOpen waits until the others closed or the grace is over.
func stillOpen(ctx context.Context, c *conn, others []*conn) bool {
	t := time.NewTimer(duplicateGrace)
	defer t.Stop()
	for _, o := range others {
		select {
		case <-o.done:
		case <-c.done:
			return false
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		}
	}
	return false
}

func randomLong() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return int64(binary.LittleEndian.Uint64(b[:]))
}
