package tgsim

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
)

// exportedLogin is what auth.exportAuthorization made.
type exportedLogin struct {
	user  int64
	dc    int // where it may be imported
	until time.Time
}

// Sibling binds the socket of another data centre of the same world: users,
// messages and logins are shared; keys, the record, faults and Stats are its
// own. cfg.DC must be free; cfg.Key is s's when nil. It has to be run as well.
// See core.telegram.org/api/datacenter.
func (s *Server) Sibling(cfg Config) (*Server, error) {
	if cfg.DC == 0 {
		return nil, errors.New("tgsim: a sibling needs the number of its data centre")
	}
	if cfg.Key == nil {
		cfg.Key = s.cfg.Key
	}
	sib, err := Listen(cfg)
	if err != nil {
		return nil, err
	}
	sib.world = s.world
	if err := s.world.addServer(sib); err != nil {
		_ = sib.ln.Close()
		return nil, err
	}
	return sib, nil
}

// SetHome moves a user to the data centre dc: logins elsewhere get 303
// PHONE_MIGRATE or USER_MIGRATE. By default it is where the user was added.
func (s *Server) SetHome(userID int64, dc int) error {
	if s.world.server(dc) == nil {
		return fmt.Errorf("tgsim: there is no data centre %d", dc)
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.users[userID]
	if !ok {
		return fmt.Errorf("tgsim: no user %d", userID)
	}
	a.home = dc
	return nil
}

// SetMethodHome moves a method to the data centre dc: the others answer calls of
// it with 303 STATS_MIGRATE_dc if it belongs to stats, else FILE_MIGRATE_dc; 0
// moves it back to all. A method that needs no login cannot move. See
// core.telegram.org/api/errors#303-see-other.
func (s *Server) SetMethodHome(method string, dc int) error {
	switch ids := knownNames(); {
	case !knownMethod(method):
		return fmt.Errorf("tgsim: there is no method %q in the layer", method)
	case !needsUser(ids[method]):
		return fmt.Errorf("tgsim: %s needs no login, so it is at home everywhere", method)
	case dc != 0 && s.world.server(dc) == nil:
		return fmt.Errorf("tgsim: there is no data centre %d", dc)
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	next := map[string]int{}
	if old := w.moved.Load(); old != nil {
		next = maps.Clone(*old)
	}
	delete(next, method)
	if dc != 0 {
		next[method] = dc
	}
	w.moved.Store(&next)
	return nil
}

// moved is the error that sends a call to the method's data centre.
func (s *Server) moved(method string) *rpcError {
	all := s.world.moved.Load()
	if all == nil {
		return nil
	}
	dc, ok := (*all)[method]
	switch {
	case !ok || dc == s.cfg.DC:
		return nil
	case strings.HasPrefix(method, "stats."):
		return &rpcError{303, "STATS_MIGRATE_" + strconv.Itoa(dc)}
	}
	return &rpcError{303, "FILE_MIGRATE_" + strconv.Itoa(dc)}
}

// addServer makes s one of the data centres. The list is replaced, never
// changed, so that readers need no lock.
func (w *world) addServer(s *Server) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.servers()
	for _, o := range old {
		if o.cfg.DC == s.cfg.DC {
			return fmt.Errorf("tgsim: data centre %d exists already", s.cfg.DC)
		}
	}
	list := append(append(make([]*Server, 0, len(old)+1), old...), s)
	w.dcs.Store(&list)
	return nil
}

// servers lists the data centres.
func (w *world) servers() []*Server {
	if list := w.dcs.Load(); list != nil {
		return *list
	}
	return nil
}

func (w *world) server(dc int) *Server {
	for _, s := range w.servers() {
		if s.cfg.DC == dc {
			return s
		}
	}
	return nil
}

// home is the data centre of a user.
func (w *world) home(user int64) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.users[user].home
}

// elsewhere is the error that sends a login to the user's data centre, see
// core.telegram.org/api/errors#303-see-other.
func (s *Server) elsewhere(user int64, name string) *rpcError {
	if dc := s.world.home(user); dc != s.cfg.DC {
		return &rpcError{303, name + strconv.Itoa(dc)}
	}
	return nil
}

// dcOptions are the addresses of all data centres, see
// core.telegram.org/constructor/dcOption.
func (w *world) dcOptions() []tg.DCOption {
	var out []tg.DCOption
	for _, s := range w.servers() {
		host, port, _ := net.SplitHostPort(s.Addr())
		n, _ := strconv.Atoi(port)
		out = append(out, tg.DCOption{ID: s.cfg.DC, IPAddress: host, Port: n, Static: true})
	}
	return out
}

// exportAuthorization: core.telegram.org/method/auth.exportAuthorization.
func (s *Server) exportAuthorization(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.AuthExportAuthorizationRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if user == 0 {
		return nil, errUnauthorized
	}
	if req.DCID == s.cfg.DC || s.world.server(req.DCID) == nil {
		return nil, &rpcError{400, "DC_ID_INVALID"}
	}
	now := time.Now()
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.exports) >= maxLogins {
		clear(l.exports) // none of them lives longer than a minute
	}
	token := randomBytes(128)
	l.exports[string(token)] = &exportedLogin{user: user, dc: req.DCID, until: now.Add(exportLife)}
	return &tg.AuthExportedAuthorization{ID: user, Bytes: token}, nil
}

// importAuthorization: core.telegram.org/method/auth.importAuthorization. What
// was exported works once, in the data centre it was made for.
func (s *Server) importAuthorization(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthImportAuthorizationRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	l := s.world.logins
	l.mu.Lock()
	e, ok := l.exports[string(req.Bytes)]
	ok = ok && e.user == req.ID && e.dc == s.cfg.DC && e.until.After(time.Now())
	if ok {
		delete(l.exports, string(req.Bytes))
	}
	l.mu.Unlock()
	if !ok {
		return nil, &rpcError{400, "AUTH_BYTES_INVALID"}
	}
	return s.authorized(c.sess.key.owner(), req.ID), nil
}

// DCList is the addresses of all data centres of the world, as a gotd client
// (telegram.Options.DCList) takes them.
func (s *Server) DCList() dcs.List { return dcs.List{Options: s.world.dcOptions()} }
