package tgsim

import (
	"maps"
	"slices"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// getContacts: core.telegram.org/method/contacts.getContacts.
func (s *Server) getContacts(c *call, user int64) (bin.Encoder, *rpcError) {
	if err := decode(c, &tg.ContactsGetContactsRequest{}); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	me := w.users[user]
	out := &tg.ContactsContacts{Contacts: []tg.Contact{}, SavedCount: len(me.contacts), Users: []tg.UserClass{}}
	for _, id := range slices.Sorted(maps.Keys(me.contacts)) {
		a := w.users[id]
		_, mutual := a.contacts[user]
		out.Contacts = append(out.Contacts, tg.Contact{UserID: id, Mutual: mutual})
		out.Users = append(out.Users, w.tgUserLocked(user, a))
	}
	return out, nil
}

// maxImport bounds contacts.importContacts; more are to be tried again.
const maxImport = 500

// importContacts: core.telegram.org/method/contacts.importContacts. Unknown
// and hidden phones are left out.
func (s *Server) importContacts(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.ContactsImportContactsRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &tg.ContactsImportedContacts{
		Imported: []tg.ImportedContact{}, PopularInvites: []tg.PopularContact{}, RetryContacts: []int64{}, Users: []tg.UserClass{},
	}
	phones := map[string]*account{}
	for _, a := range w.users {
		if a.Phone != "" && a.foundBy(user) && !a.deleted {
			phones[digits(a.Phone)] = a
		}
	}
	for i, in := range req.Contacts {
		if i >= maxImport {
			out.RetryContacts = append(out.RetryContacts, in.ClientID)
			continue
		}
		a := phones[digits(in.Phone)]
		if a == nil || digits(in.Phone) == "" {
			continue
		}
		rec.Effect = true
		w.users[user].addContact(a.ID)
		out.Imported = append(out.Imported, tg.ImportedContact{UserID: a.ID, ClientID: in.ClientID})
		out.Users = append(out.Users, w.tgUserLocked(user, a))
	}
	return out, nil
}

func (a *account) addContact(id int64) {
	if a.contacts == nil {
		a.contacts = map[int64]struct{}{}
	}
	if id != a.ID {
		a.contacts[id] = struct{}{}
	}
}

// foundBy tells whether viewer finds a by its phone, see
// core.telegram.org/constructor/privacyKeyAddedByPhone.
func (a *account) foundBy(viewer int64) bool {
	_, contact := a.contacts[viewer]
	return a.ID == viewer || !a.phoneShut && (contact || !a.phoneLimited)
}

func (w *world) byPhoneLocked(phone string) *account {
	phone = digits(phone)
	if phone == "" {
		return nil
	}
	for _, a := range w.users {
		if !a.deleted && a.Phone != "" && digits(a.Phone) == phone {
			return a
		}
	}
	return nil
}

// resolvePhone: core.telegram.org/method/contacts.resolvePhone, which
// documents 400 PHONE_NOT_OCCUPIED. Whoever hides the phone is not found.
func (s *Server) resolvePhone(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ContactsResolvePhoneRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	a := w.byPhoneLocked(req.Phone)
	if a == nil || !a.foundBy(user) {
		return nil, &rpcError{400, "PHONE_NOT_OCCUPIED"}
	}
	return &tg.ContactsResolvedPeer{
		Peer:  &tg.PeerUser{UserID: a.ID},
		Users: []tg.UserClass{w.tgUserLocked(user, a)},
		Chats: []tg.ChatClass{},
	}, nil
}

// searchContacts: core.telegram.org/method/contacts.search: my_results are
// contacts and dialogs, results are found by their public names.
func (s *Server) searchContacts(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ContactsSearchRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	q := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(req.Q), "@"))
	switch {
	case q == "":
		return nil, &rpcError{400, "SEARCH_QUERY_EMPTY"}
	case len(q) < 3:
		return nil, &rpcError{400, "QUERY_TOO_SHORT"}
	}
	limit := pageSize(req.Limit)
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	out := &tg.ContactsFound{MyResults: []tg.PeerClass{}, Results: []tg.PeerClass{}, Users: []tg.UserClass{}, Chats: []tg.ChatClass{}}
	seen := map[peer]struct{}{}
	add := func(list *[]tg.PeerClass, p peer) {
		if _, dup := seen[p]; dup || len(*list) >= limit {
			return
		}
		seen[p] = struct{}{}
		*list = append(*list, p.tg())
		switch p.kind {
		case kindUser:
			out.Users = append(out.Users, w.tgUserLocked(user, w.users[p.id]))
		case kindChat:
			out.Chats = append(out.Chats, w.tgGroupLocked(user, w.chats[p.id]))
		case kindChannel:
			out.Chats = append(out.Chats, w.tgChannelLocked(user, w.channels[p.id]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.users[user].contacts)) {
		if w.users[id].matches(q) {
			add(&out.MyResults, peer{kindUser, id})
		}
	}
	for _, d := range w.dialogsLocked(user) {
		if w.titledLocked(d.peer, q) {
			add(&out.MyResults, d.peer)
		}
	}
	var names []string
	for name := range w.names {
		if strings.HasPrefix(name, q) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		add(&out.Results, w.names[name])
	}
	return out, nil
}

// titledLocked tells whether the name of p begins with q.
func (w *world) titledLocked(p peer, q string) bool {
	switch p.kind {
	case kindChat:
		return strings.HasPrefix(strings.ToLower(w.chats[p.id].Title), q)
	case kindChannel:
		return strings.HasPrefix(strings.ToLower(w.channels[p.id].Title), q)
	default:
		return w.users[p.id].matches(q)
	}
}

// claimNameLocked checks a username that p asks for; see
// core.telegram.org/method/account.updateUsername.
func (w *world) claimNameLocked(p peer, name string) *rpcError {
	now := w.namesOfLocked(p)
	current := ""
	if len(now) > 0 {
		current = now[0].Name
	}
	if name == current {
		return &rpcError{400, "USERNAME_NOT_MODIFIED"}
	}
	if name != "" {
		if failed := w.checkNameLocked(p, name); failed != nil {
			return failed
		}
	}
	rest := now[min(1, len(now)):]
	if name != "" {
		rest = append([]Username{{Name: name}}, rest...)
	}
	w.setNamesLocked(p, rest)
	return nil
}

// checkNameLocked: names that users choose have 5 characters or more, see
// core.telegram.org/method/account.checkUsername.
func (w *world) checkNameLocked(p peer, name string) *rpcError {
	if len(name) < 5 || !usernamePattern.MatchString(name) {
		return &rpcError{400, "USERNAME_INVALID"}
	}
	if owner, taken := w.names[strings.ToLower(name)]; taken && owner != p {
		return &rpcError{400, "USERNAME_OCCUPIED"}
	}
	return nil
}

// updateUsername: core.telegram.org/method/account.updateUsername.
func (s *Server) updateUsername(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.AccountUpdateUsernameRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	failed := w.claimNameLocked(peer{kindUser, user}, req.Username)
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	rec.Effect = true
	me := w.tgUserLocked(user, w.users[user])
	w.mu.Unlock()
	s.tellName(user, c.sess)
	return me, nil
}

// tellName sends a user and those who have it as a contact its names, see
// core.telegram.org/constructor/updateUserName.
func (s *Server) tellName(user int64, but *session) {
	w := s.world
	w.mu.RLock()
	a := w.users[user]
	u := &tg.UpdateUserName{UserID: user, FirstName: a.FirstName, LastName: a.LastName, Usernames: tgUsernames(w.namesOfLocked(peer{kindUser, user}))}
	to := []int64{user}
	for id, other := range w.users {
		if _, ok := other.contacts[user]; ok {
			to = append(to, id)
		}
	}
	w.mu.RUnlock()
	s.pushAll(to, but, func(viewer int64) bin.Encoder {
		w.mu.RLock()
		defer w.mu.RUnlock()
		return changed([]tg.UserClass{w.tgUserLocked(viewer, w.users[user])}, nil, u)
	})
}

// checkChannelUsername: core.telegram.org/method/channels.checkUsername.
func (s *Server) checkChannelUsername(c *call, user int64) (bin.Encoder, *rpcError) {
	var req tg.ChannelsCheckUsernameRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.RLock()
	defer w.mu.RUnlock()
	var p peer
	if _, empty := req.Channel.(*tg.InputChannelEmpty); !empty { // empty: for a channel to be
		ch, failed := w.inputChannelLocked(user, req.Channel)
		if failed != nil {
			return nil, failed
		}
		p = peer{kindChannel, ch.ID}
	}
	if failed := w.checkNameLocked(p, req.Username); failed != nil {
		return nil, failed
	}
	return &tg.BoolTrue{}, nil
}

// updateChannelUsername: core.telegram.org/method/channels.updateUsername.
func (s *Server) updateChannelUsername(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.ChannelsUpdateUsernameRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	w := s.world
	w.mu.Lock()
	ch, failed := w.inputChannelLocked(user, req.Channel)
	if failed == nil && ch.creator != user {
		failed = &rpcError{403, "CHAT_ADMIN_REQUIRED"}
	}
	if failed == nil {
		failed = w.claimNameLocked(peer{kindChannel, ch.ID}, req.Username)
	}
	if failed != nil {
		w.mu.Unlock()
		return nil, failed
	}
	rec.Effect = true
	members := ch.members
	w.mu.Unlock()
	s.tellChannel(ch.ID, c.sess, members...)
	return &tg.BoolTrue{}, nil
}
