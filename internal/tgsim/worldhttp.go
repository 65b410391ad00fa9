package tgsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// handleWorld adds the endpoints that change who exists and what they wrote.
func (s *Server) handleWorld(mux *http.ServeMux) {
	mux.HandleFunc("PATCH /accounts/{account}", s.servePatchAccount)
	mux.HandleFunc("POST /accounts/{account}/too_long", s.serveTooLong)
	mux.HandleFunc("GET /chats", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Chats()) })
	mux.HandleFunc("POST /chats", s.serveAddChat)
	mux.HandleFunc("POST /chats/{id}/migrate", s.serveMigrate)
	mux.HandleFunc("POST /chats/{id}/invites", func(w http.ResponseWriter, r *http.Request) { s.serveAddInvite(w, r, kindChat) })
	mux.HandleFunc("GET /channels", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Channels()) })
	mux.HandleFunc("POST /channels", s.serveAddChannel)
	mux.HandleFunc("PATCH /channels/{id}", s.servePatchChannel)
	mux.HandleFunc("POST /channels/{id}/members", s.serveMembers)
	mux.HandleFunc("POST /channels/{id}/invites", func(w http.ResponseWriter, r *http.Request) { s.serveAddInvite(w, r, kindChannel) })
	mux.HandleFunc("DELETE /invites/{hash}", s.serveRevokeInvite)
	mux.HandleFunc("POST /messages", s.serveAddMessages)
	mux.HandleFunc("DELETE /accounts/{account}/messages/{message}", s.serveDeleteMessage)
	mux.HandleFunc("DELETE /channels/{id}/messages/{message}", s.serveDeleteChannelMessage)
}

// ChatInfo is a basic group with its members.
type ChatInfo struct {
	Chat
	Members    []int64 `json:"members"`
	MigratedTo int64   `json:"migrated_to,omitempty"`
}

// ChannelInfo is a channel with its members and settings.
type ChannelInfo struct {
	Channel
	Usernames    []Username `json:"usernames,omitempty"` // all of them, if there is more than one
	Broadcast    bool       `json:"broadcast"`
	Slowmode     int        `json:"slowmode"`
	Members      []int64    `json:"members"`
	MigratedFrom int64      `json:"migrated_from,omitempty"`
}

// Chats lists the basic groups by id.
func (s *Server) Chats() []ChatInfo {
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := make([]ChatInfo, 0, len(w.chats))
	for _, g := range w.chats {
		out = append(out, ChatInfo{Chat: g.Chat, Members: slices.Clone(g.members), MigratedTo: g.migratedTo})
	}
	slices.SortFunc(out, func(a, b ChatInfo) int { return int(a.ID - b.ID) })
	return out
}

// Channels lists the channels by id.
func (s *Server) Channels() []ChannelInfo {
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := make([]ChannelInfo, 0, len(w.channels))
	for _, c := range w.channels {
		out = append(out, c.info())
	}
	slices.SortFunc(out, func(a, b ChannelInfo) int { return int(a.ID - b.ID) })
	return out
}

func (c *channel) info() ChannelInfo {
	return ChannelInfo{
		Channel: c.Channel, Usernames: slices.Clone(c.names), Broadcast: c.broadcast,
		Slowmode: c.slowmode, Members: slices.Clone(c.members), MigratedFrom: c.migratedFrom,
	}
}

// ref is an id or a username in JSON: 5, "5" or "ann".
type ref string

func (r *ref) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err == nil {
		*r = ref(n.String())
		return nil
	}
	return json.Unmarshal(b, (*string)(r))
}

// accounts turns references into ids.
func (s *Server) accounts(refs []ref) ([]int64, error) {
	out := make([]int64, 0, len(refs))
	for _, r := range refs {
		id, err := s.accountID(string(r))
		if err != nil {
			return nil, err
		}
		if id == 0 {
			return nil, errors.New("an account is an id or a username, not empty")
		}
		out = append(out, id)
	}
	return out, nil
}

// pathID reads {id}.
func pathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not an id", r.PathValue("id"))
	}
	return id, nil
}

// answerOr replies with v, or with why it could not be done.
func answerOr(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		refuse(w, http.StatusConflict, err)
		return
	}
	reply(w, status, v)
}

func (s *Server) servePatchAccount(w http.ResponseWriter, r *http.Request) {
	var req struct {
		FirstName   *string     `json:"first_name"`
		LastName    *string     `json:"last_name"`
		Phone       *string     `json:"phone"`
		Usernames   *[]Username `json:"usernames"`
		PhoneHidden *bool       `json:"phone_hidden"`
		PhoneLimit  *bool       `json:"phone_limited"`
		Contacts    []ref       `json:"contacts"` // to be added
		Deleted     bool        `json:"deleted"`
	}
	id, err := s.accountID(r.PathValue("account"))
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	if err := body(r, &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	contacts, err := s.accounts(req.Contacts)
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	err = s.changeUser(id, func(a *account) {
		set(&a.FirstName, req.FirstName)
		set(&a.LastName, req.LastName)
		set(&a.Phone, req.Phone)
		set(&a.phoneShut, req.PhoneHidden)
		set(&a.phoneLimited, req.PhoneLimit)
	})
	if err == nil {
		err = s.AddContact(id, contacts...)
	}
	if err == nil && req.Usernames != nil {
		err = s.SetUsernames(id, *req.Usernames...)
	} else if err == nil && (req.FirstName != nil || req.LastName != nil) {
		s.tellName(id, nil)
	}
	if err == nil && req.Deleted {
		err = s.DeleteUser(id)
	}
	u, _ := s.world.user(id)
	answerOr(w, http.StatusOK, u, err)
}

// set assigns what a request names.
func set[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

func (s *Server) serveTooLong(w http.ResponseWriter, r *http.Request) {
	id, err := s.accountID(r.PathValue("account"))
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	s.PushTooLong(id)
	reply(w, http.StatusOK, struct{}{})
}

// newGroup is what POST /chats and POST /channels take.
type newGroup struct {
	Title     string `json:"title"`
	Username  string `json:"username"`  // channels only
	Broadcast bool   `json:"broadcast"` // channels only
	Members   []ref  `json:"members"`   // the first is the creator
}

func (s *Server) readGroup(w http.ResponseWriter, r *http.Request) (newGroup, []int64, bool) {
	var req newGroup
	if err := body(r, &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return req, nil, false
	}
	if req.Title == "" {
		refuse(w, http.StatusBadRequest, errors.New("title is missing"))
		return req, nil, false
	}
	members, err := s.accounts(req.Members)
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return req, nil, false
	}
	return req, members, true
}

func (s *Server) serveAddChat(w http.ResponseWriter, r *http.Request) {
	req, members, ok := s.readGroup(w, r)
	if !ok {
		return
	}
	if req.Username != "" || req.Broadcast {
		refuse(w, http.StatusBadRequest, errors.New("a basic group has no username and no broadcast"))
		return
	}
	c, err := s.AddChat(req.Title, members...)
	answerOr(w, http.StatusCreated, c, err)
}

func (s *Server) serveAddChannel(w http.ResponseWriter, r *http.Request) {
	req, members, ok := s.readGroup(w, r)
	if !ok {
		return
	}
	c, err := s.AddChannel(req.Title, req.Username, members...)
	if err == nil && req.Broadcast {
		err = s.SetBroadcast(c.ID, true)
	}
	answerOr(w, http.StatusCreated, c, err)
}

func (s *Server) serveMigrate(w http.ResponseWriter, r *http.Request) {
	id, err := pathID(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	c, err := s.MigrateChat(id)
	answerOr(w, http.StatusCreated, c, err)
}

func (s *Server) servePatchChannel(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Title     *string     `json:"title"`
		Usernames *[]Username `json:"usernames"` // none: private
		Slowmode  *int        `json:"slowmode"`
		Broadcast *bool       `json:"broadcast"`
	}
	id, err := pathID(r)
	if err == nil {
		err = body(r, &req)
	}
	if err == nil && req.Slowmode != nil && *req.Slowmode < 0 {
		err = errors.New("slowmode must not be negative")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if req.Usernames != nil {
		err = s.SetChannelUsernames(id, *req.Usernames...)
	}
	if err == nil && req.Slowmode != nil {
		err = s.SetSlowmode(id, *req.Slowmode)
	}
	var info ChannelInfo
	if err == nil {
		err = s.changeChannel(id, func(c *channel) {
			set(&c.Title, req.Title)
			set(&c.broadcast, req.Broadcast)
			info = c.info()
		})
	}
	answerOr(w, http.StatusOK, info, err)
}

func (s *Server) serveMembers(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Add    []ref `json:"add"`
		Remove []ref `json:"remove"`
	}
	id, err := pathID(r)
	if err == nil {
		err = body(r, &req)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	add, err := s.accounts(req.Add)
	remove, err2 := s.accounts(req.Remove)
	if err := errors.Join(err, err2); err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	if err = s.Join(id, add...); err == nil {
		err = s.Kick(id, remove...)
	}
	answerOr(w, http.StatusOK, struct{}{}, err)
}

func (s *Server) serveAddInvite(w http.ResponseWriter, r *http.Request, k kind) {
	var req struct {
		Peek span `json:"peek"` // how long who is no member may look in
	}
	id, err := pathID(r)
	if err == nil {
		if err = body(r, &req); errors.Is(err, io.EOF) { // may be left out
			err = nil
		}
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	to := peer{k, id}.String()
	var link string
	if req.Peek != 0 {
		link, err = s.AddPeekInvite(to, time.Duration(req.Peek))
	} else {
		link, err = s.AddInvite(to)
	}
	answerOr(w, http.StatusCreated, struct {
		Link string `json:"link"`
	}{link}, err)
}

func (s *Server) serveRevokeInvite(w http.ResponseWriter, r *http.Request) {
	answerOr(w, http.StatusOK, struct{}{}, s.RevokeInvite(r.PathValue("hash")))
}
