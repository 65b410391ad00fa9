package tgsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gotd/td/crypto"
	gotd "github.com/gotd/td/session"
)

// Handler serves the server's controls as JSON over HTTP:
//
//	GET  /record?account=&method=&after=  recorded calls, one JSON object a line
//	GET  /stats                           Stats
//	GET  /accounts                        users, bots included
//	POST /accounts                        accountRequest -> {"user":…,"session":…,"bot_token":…}
//	GET  /codes?phone=                    the login code sent last -> {"phone":…,"code":…}
//	POST /faults                          adds a fault (see faultRequest)
//	DELETE /faults                        removes all faults
//	POST /reset                           ResetRecord
//	GET  /settings                        Settings; changed by the next five
//	POST /rtt, /clock, /salts, /gzip, /resend
//	POST /cut, /half-open, /stall         what happens to open connections
//	POST /forget-sessions, /forget-keys, /revoke, /ban
//	POST /method-home                     {"method":…,"dc":…}, see SetMethodHome
//	GET  /key                             the public key as PEM
//	PATCH /accounts/{account}             first_name, last_name, phone, phone_hidden, phone_limited, usernames, contacts, deleted
//	POST /accounts/{account}/too_long     PushTooLong
//	GET  /chats                           basic groups: []ChatInfo
//	POST /chats                           {"title":…,"members":[…]} -> Chat
//	POST /chats/{id}/migrate              -> Channel
//	POST /chats/{id}/invites              -> {"link":…}
//	GET  /channels                        []ChannelInfo
//	POST /channels                        {"title":…,"username":…,"broadcast":…,"members":[…]} -> Channel
//	PATCH /channels/{id}                  title, usernames (none = private), slowmode, broadcast
//	POST /channels/{id}/members           {"add":[…],"remove":[…]}
//	POST /channels/{id}/invites           nothing, or {"peek":"5m"} -> {"link":…}
//	DELETE /invites/{hash}                ends a link
//	POST /messages                        {"from":…,"to":…,"text":…,"forward_from":…} -> {"id":…}; [{…}] -> [{…}]
//	DELETE /accounts/{account}/messages/{id}  for everybody; private chats and basic groups
//	DELETE /channels/{id}/messages/{id}
//
// account, members, contacts and from are ids or usernames; to is a username,
// user:5, chat:5 or channel:5; usernames are [{"name":…,"inactive":…}]. What cannot be served is answered with a 4xx
// and {"error":"one sentence"}. It hands out sessions: never expose it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /record", s.serveRecord)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("GET /accounts", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Users()) })
	mux.HandleFunc("POST /accounts", s.serveAddAccount)
	mux.HandleFunc("GET /codes", s.serveCode)
	s.wireControls(mux)
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetRecord()
		reply(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("GET /key", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.PublicKeyPEM())
	})
	s.handleWorld(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Errorf("there is no %s %s here", r.Method, r.URL.Path))
	})
	return mux
}

// Users lists the accounts by id.
func (s *Server) Users() []User {
	s.world.mu.RLock()
	defer s.world.mu.RUnlock()
	out := make([]User, 0, len(s.world.users))
	for _, a := range s.world.users {
		out = append(out, a.User)
	}
	slices.SortFunc(out, func(a, b User) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// sessionFile is a Session in the form of gotd's session storage.
type sessionFile struct {
	Version int
	Data    gotd.Data
}

// SessionJSON returns sess as gotd's session storage keeps it. The bytes are a secret.
func (s *Server) SessionJSON(sess Session) ([]byte, error) {
	id := crypto.Key(sess.AuthKey).ID()
	return json.Marshal(sessionFile{Version: 1, Data: gotd.Data{
		DC:        sess.DC,
		Addr:      s.Addr(),
		AuthKey:   sess.AuthKey[:],
		AuthKeyID: id[:],
		Salt:      sess.Salt,
	}})
}

func (s *Server) serveRecord(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := Filter{Method: q.Get("method")}
	var err error
	if f.Account, err = s.accountID(q.Get("account")); err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	if v := q.Get("after"); v != "" {
		if f.After, err = strconv.ParseInt(v, 10, 64); err != nil || f.After < 0 {
			refuse(w, http.StatusBadRequest, fmt.Errorf("after=%q is not the number of a call", v))
			return
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	enc := json.NewEncoder(w)
	var calls []Call
	for end := s.record.last(); f.After < end; { // no more than a window is copied at a time
		calls, f.After = s.record.window(calls[:0], f, end)
		for _, c := range calls {
			if err := enc.Encode(c); err != nil {
				return // the reader is gone
			}
		}
	}
}

// accountID turns an id or a username into an id; "" is 0.
func (s *Server) accountID(v string) (int64, error) {
	if v == "" {
		return 0, nil
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	if id, err := strconv.ParseInt(v, 10, 64); err == nil {
		if _, ok := w.users[id]; ok {
			return id, nil
		}
		return 0, fmt.Errorf("there is no account %d", id)
	}
	p, ok := w.names[strings.ToLower(strings.TrimPrefix(v, "@"))]
	if !ok || p.kind != kindUser {
		return 0, fmt.Errorf("there is no account %q", v)
	}
	return p.id, nil
}

func (s *Server) serveAddAccount(w http.ResponseWriter, r *http.Request) {
	var req accountRequest
	if err := body(r, &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	home := s
	if req.DC != 0 {
		if home = s.world.server(req.DC); home == nil {
			refuse(w, http.StatusBadRequest, fmt.Errorf("there is no data centre %d", req.DC))
			return
		}
	}
	u, token, status, err := home.addAccount(req)
	if err != nil {
		refuse(w, status, err)
		return
	}
	sess, err := home.NewSession(u.ID)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	file, err := home.SessionJSON(sess)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	reply(w, http.StatusCreated, struct {
		User     User            `json:"user"`
		Session  json.RawMessage `json:"session"`
		BotToken string          `json:"bot_token,omitempty"`
	}{u, file, token})
}

// body reads a JSON request without unknown fields.
func body(r *http.Request, v any) error { return bodyUpTo(r, 1<<20, v) }

func bodyUpTo(r *http.Request, bytes int64, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, bytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the body is not the JSON expected: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body holds more than one JSON object")
	}
	return nil
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the reader may be gone
}

func refuse(w http.ResponseWriter, status int, err error) {
	reply(w, status, struct {
		Error string `json:"error"`
	}{strings.TrimPrefix(err.Error(), "tgsim: ")})
}
