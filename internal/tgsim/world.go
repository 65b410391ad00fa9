package tgsim

import (
	"fmt"
	"hash/maphash"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gotd/td/tg"
)

// User is an account or a bot. Phone is shown to the user and to contacts.
type User struct {
	ID        int64  `json:"id"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Username  string `json:"username,omitempty"`
	Phone     string `json:"phone,omitempty"`
	Bot       bool   `json:"bot,omitempty"`
}

// Chat is a basic group. Only members see it and write to it.
type Chat struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
}

// Channel is a supergroup: its members write to it.
type Channel struct {
	ID       int64  `json:"id"`
	Title    string `json:"title"`
	Username string `json:"username,omitempty"`
}

type kind uint8

const (
	kindUser kind = iota + 1
	kindChat
	kindChannel
)

// peer names a conversation.
type peer struct {
	kind kind
	id   int64
}

func (p peer) tg() tg.PeerClass {
	switch p.kind {
	case kindChat:
		return &tg.PeerChat{ChatID: p.id}
	case kindChannel:
		return &tg.PeerChannel{ChannelID: p.id}
	default:
		return &tg.PeerUser{UserID: p.id}
	}
}

// account is a user with its messages.
type account struct {
	User
	box
	social
	sent sentLog
	met  map[peer]struct{} // who a bot may address with access_hash 0
	home int               // data centre
}

type group struct {
	Chat
	circle
	members []int64
}

type channel struct {
	Channel
	box
	club
	members []int64
	joined  map[int64]struct{} // members, for lookups
}

// world is who exists, and what they wrote.
type world struct {
	seed   maphash.Seed // immutable; access hashes come from it
	logins *logins      // immutable
	dcs    atomic.Pointer[[]*Server]
	moved  atomic.Pointer[map[string]int] // data centres by method; a copy per change
	files  files

	mu       sync.RWMutex // guards below
	users    map[int64]*account
	chats    map[int64]*group
	channels map[int64]*channel
	names    map[string]peer // by username in lower case
	invites  map[string]*invite
	posted   int64          // messages ever, whose copies share a number
	last     map[kind]int64 // id given last
}

func newWorld() *world {
	return &world{
		seed:     maphash.MakeSeed(),
		logins:   newLogins(),
		users:    map[int64]*account{},
		chats:    map[int64]*group{},
		channels: map[int64]*channel{},
		names:    map[string]peer{},
		invites:  map[string]*invite{},
		// Ranges as Telegram's: users beyond 32 bits are usual.
		last: map[kind]int64{kindUser: 5_000_000_000, kindChat: 400_000_000, kindChannel: 1_500_000_000},
	}
}

// username of 3 characters or more, see core.telegram.org/method/account.checkUsername.
var usernamePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{2,31}$`)

// AddUser adds a user. ID is assigned when 0; a username is unique whatever
// its case.
func (s *Server) AddUser(u User) (User, error) {
	out, err := s.AddUsers(u)
	if err != nil {
		return User{}, err
	}
	return out[0], nil
}

// AddUsers adds users as AddUser does, all of them or none.
func (s *Server) AddUsers(users ...User) ([]User, error) {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	ids, names := map[int64]struct{}{}, map[string]struct{}{}
	for _, u := range users {
		if u.ID < 0 {
			return nil, fmt.Errorf("tgsim: user id %d is negative", u.ID)
		}
		_, exists := w.users[u.ID]
		_, twice := ids[u.ID]
		if u.ID != 0 && (exists || twice) {
			return nil, fmt.Errorf("tgsim: user %d exists already", u.ID)
		}
		ids[u.ID] = struct{}{}
		if err := w.nameFreeLocked(u.Username); err != nil {
			return nil, err
		}
		low := strings.ToLower(u.Username)
		if _, twice := names[low]; twice && low != "" {
			return nil, fmt.Errorf("tgsim: username %q is taken", u.Username)
		}
		names[low] = struct{}{}
	}
	out := slices.Clone(users)
	for i, u := range out { // first those whose ids are not free to be given
		if u.ID != 0 {
			w.addUserLocked(&out[i], s.cfg.DC)
		}
	}
	for i, u := range out {
		if u.ID == 0 {
			out[i].ID = w.nextLocked(kindUser)
			w.addUserLocked(&out[i], s.cfg.DC)
		}
	}
	return out, nil
}

func (w *world) addUserLocked(u *User, dc int) {
	w.users[u.ID] = &account{User: *u, box: newBox(keepPosts), met: map[peer]struct{}{}, home: dc}
	w.nameLocked(u.Username, peer{kindUser, u.ID})
}

// AddChat adds a basic group of these users.
func (s *Server) AddChat(title string, members ...int64) (Chat, error) {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.existLocked(members); err != nil {
		return Chat{}, err
	}
	c := Chat{ID: w.nextLocked(kindChat), Title: title}
	w.chats[c.ID] = &group{Chat: c, members: slices.Clone(members)}
	w.chats[c.ID].circle = newCircle(members)
	w.meetLocked(peer{kindChat, c.ID}, members)
	return c, nil
}

// AddChannel adds a supergroup of these users; username may be empty.
func (s *Server) AddChannel(title, username string, members ...int64) (Channel, error) {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.existLocked(members); err != nil {
		return Channel{}, err
	}
	if err := w.nameFreeLocked(username); err != nil {
		return Channel{}, err
	}
	c := w.newChannelLocked(title, members)
	c.Username = username
	w.nameLocked(username, peer{kindChannel, c.ID})
	return c.Channel, nil
}

func (w *world) nextLocked(k kind) int64 {
	for {
		w.last[k]++
		if _, taken := w.users[w.last[k]]; k != kindUser || !taken {
			return w.last[k]
		}
	}
}

func (w *world) existLocked(ids []int64) error {
	for _, id := range ids {
		if _, ok := w.users[id]; !ok {
			return fmt.Errorf("tgsim: no user %d", id)
		}
	}
	return nil
}

func (w *world) nameFreeLocked(username string) error {
	if username == "" {
		return nil
	}
	if !usernamePattern.MatchString(username) {
		return fmt.Errorf("tgsim: username %q must be 3 to 32 letters, digits or _, and begin with a letter", username)
	}
	if _, taken := w.names[strings.ToLower(username)]; taken {
		return fmt.Errorf("tgsim: username %q is taken", username)
	}
	return nil
}

func (w *world) nameLocked(username string, p peer) {
	if username != "" {
		w.names[strings.ToLower(username)] = p
	}
}

// meetLocked lets the bots among members address p and each other.
func (w *world) meetLocked(p peer, members []int64) {
	for _, id := range members {
		if !w.users[id].Bot {
			continue
		}
		w.users[id].met[p] = struct{}{}
		for _, other := range members {
			w.users[id].met[peer{kindUser, other}] = struct{}{}
		}
	}
}

// user returns a copy of what is public about a user.
func (w *world) user(id int64) (User, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	a, ok := w.users[id]
	if !ok {
		return User{}, false
	}
	return a.User, true
}

// AccessHash is what account viewer must present to address user target. Each
// viewer has its own, see core.telegram.org/api/peers#access-hash.
func (s *Server) AccessHash(viewer, target int64) int64 {
	return s.world.hash(viewer, peer{kindUser, target})
}

// ChannelAccessHash is AccessHash for a channel.
func (s *Server) ChannelAccessHash(viewer, target int64) int64 {
	return s.world.hash(viewer, peer{kindChannel, target})
}

// hashOKLocked checks an access hash that viewer presents for p.
func (w *world) hashOKLocked(viewer int64, p peer, hash int64) bool {
	if hash != 0 {
		return hash == w.hash(viewer, p)
	}
	// Bots may leave it out for peers they have met, see
	// core.telegram.org/api/bots (access hashes of bots).
	a := w.users[viewer]
	if a == nil || !a.Bot {
		return false
	}
	_, ok := a.met[p]
	return ok
}

func (w *world) tgUserLocked(viewer int64, u *account) *tg.User {
	out := &tg.User{
		ID:         u.ID,
		AccessHash: w.hash(viewer, peer{kindUser, u.ID}),
		FirstName:  u.FirstName,
		LastName:   u.LastName,
		Username:   u.Username,
		Bot:        u.Bot,
		Self:       viewer == u.ID,
	}
	if u.Bot {
		out.BotInfoVersion = 1
	}
	if out.Self {
		out.Phone = u.Phone
	}
	w.dressUserLocked(viewer, u, out)
	return out
}

func (w *world) tgChannelLocked(viewer int64, c *channel) *tg.Channel {
	_, joined := c.joined[viewer]
	out := &tg.Channel{
		ID:         c.ID,
		AccessHash: w.hash(viewer, peer{kindChannel, c.ID}),
		Title:      c.Title,
		Username:   c.Username,
		Megagroup:  true,
		Left:       !joined,
		Photo:      &tg.ChatPhotoEmpty{},
	}
	dressChannel(viewer, c, out)
	return out
}

func (w *world) tgChatLocked(c *group) *tg.Chat {
	return &tg.Chat{
		ID:                c.ID,
		Title:             c.Title,
		Photo:             &tg.ChatPhotoEmpty{},
		ParticipantsCount: len(c.members),
		Version:           1,
	}
}

// mentionedLocked lists the peers of messages as viewer sees them.
func (w *world) mentionedLocked(viewer int64, posts []*post) ([]tg.UserClass, []tg.ChatClass) {
	users, chats := []tg.UserClass{}, []tg.ChatClass{}
	seen := map[peer]struct{}{}
	add := func(p peer, in kind) {
		if _, ok := seen[p]; ok || p.id == 0 {
			return
		}
		seen[p] = struct{}{}
		switch {
		case p.kind == kindChat:
			chats = append(chats, w.tgGroupLocked(viewer, w.chats[p.id]))
		case p.kind == kindChannel && in == 0:
			chats = append(chats, w.tgChannelLocked(viewer, w.channels[p.id]))
		case p.kind == kindChannel:
			chats = append(chats, w.tgFarChannelLocked(viewer, w.channels[p.id]))
		case in == kindChannel:
			users = append(users, w.tgSenderLocked(viewer, w.users[p.id]))
		default:
			users = append(users, w.tgUserLocked(viewer, w.users[p.id]))
		}
	}
	for _, m := range posts {
		add(m.peer, 0)
	}
	for _, m := range posts {
		add(peer{kindUser, m.from}, m.peer.kind)
		add(m.fwd, m.peer.kind)
		for _, id := range actionUsers(m.action) {
			add(peer{kindUser, id}, m.peer.kind)
		}
	}
	return users, chats
}
