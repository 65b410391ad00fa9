package main

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
)

// movers is an installation on a database, with a simulated Telegram whose users have
// sessions that were made elsewhere.
type movers struct {
	installation
	sim *tgsim.Server
	dir string
}

func newMovers(t *testing.T, database string) *movers {
	t.Helper()
	m := &movers{dir: t.TempDir()}
	var err error
	if m.sim, err = tgsim.Listen(tgsim.Config{}); err != nil {
		t.Fatal(err)
	}
	simtest.Background(t, "simulator", m.sim.Run)
	public := filepath.Join(t.TempDir(), "sim.pem")
	if err := os.WriteFile(public, m.sim.PublicKeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	m.key = filepath.Join(t.TempDir(), "key.json")
	m.env = map[string]string{
		"SWITCHBOARD_DATABASE":            database,
		"SWITCHBOARD_KEY_FILE":            m.key,
		"SWITCHBOARD_TELEGRAM_API_ID":     "1",
		"SWITCHBOARD_TELEGRAM_DC":         fmt.Sprintf("%d=%s", m.sim.DC(), m.sim.Addr()),
		"SWITCHBOARD_TELEGRAM_PUBLIC_KEY": public,
	}
	must(t, m.env, "", "key", "new", m.key)
	must(t, m.env, "", "migrate", "up")
	return m
}

// forEachMovers is on Postgres and on SQLite.
func forEachMovers(t *testing.T, test func(*testing.T, *movers)) {
	t.Parallel()
	for name, database := range map[string]func() string{
		"postgres": func() string { return testenv.Postgres(t) },
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newMovers(t, database()))
		})
	}
}

func (m *movers) user(t testing.TB, name string) tgsim.User {
	t.Helper()
	u := tgsim.User{FirstName: name, Username: name, Bot: strings.HasSuffix(name, "bot")}
	if !u.Bot {
		u.Phone = fmt.Sprintf("1555%07d", len(m.sim.Users()))
	}
	u, err := m.sim.AddUser(u)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// session writes a new session of a user in gotd's form.
func (m *movers) session(t testing.TB, u tgsim.User, file string) (path string) {
	t.Helper()
	s, err := m.sim.NewSession(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.sim.SessionJSON(s)
	if err != nil {
		t.Fatal(err)
	}
	return m.write(t, file, data)
}

func (m *movers) write(t testing.TB, file string, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(m.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// entity is a peer in Telethon's file.
type entity struct {
	id       int64 // as the Bot API numbers peers
	hash     int64
	username any
	phone    any
	date     int64
}

// telethon writes a session as Telethon's SQLiteSession does, version 7.
func (m *movers) telethon(t testing.TB, file string, s tgsim.Session, entities ...entity) (path string) {
	t.Helper()
	path = m.write(t, file, nil)
	d, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.SetMaxOpenConns(1) // one transaction, for speed
	exec := func(stmt string, args ...any) {
		t.Helper()
		if _, err := d.ExecContext(t.Context(), stmt, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, stmt := range []string{
		"PRAGMA synchronous = off", "BEGIN",
		"CREATE TABLE version (version integer primary key)",
		"CREATE TABLE sessions (dc_id integer primary key, server_address text, port integer, auth_key blob, takeout_id integer)",
		"CREATE TABLE entities (id integer primary key, hash integer not null, username text, phone integer, name text, date integer)",
		"CREATE TABLE sent_files (md5_digest blob, file_size integer, type integer, id integer, hash integer, primary key(md5_digest, file_size, type))",
		"CREATE TABLE update_state (id integer primary key, pts integer, qts integer, date integer, seq integer)",
		"INSERT INTO version VALUES (7)",
	} {
		exec(stmt)
	}
	exec("INSERT INTO sessions VALUES (?, '149.154.167.51', 443, ?, NULL)", s.DC, s.AuthKey[:])
	for _, e := range entities {
		exec("INSERT INTO entities VALUES (?, ?, ?, ?, 'somebody', ?)", e.id, e.hash, e.username, e.phone, e.date)
	}
	exec("COMMIT")
	return path
}

// account is what `accounts show` says.
func (m *movers) account(t testing.TB, name string) accountView {
	t.Helper()
	var v accountView
	if err := json.Unmarshal([]byte(must(t, m.env, "", "accounts", "show", name, "--json").stdout), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// refused wants a command to fail with all of the texts, and the account not to be there.
func (m *movers) refused(t testing.TB, name string, wants []string, args ...string) {
	t.Helper()
	got := runIn(t.Context(), m.env, "", append([]string{"accounts", "import"}, args...)...)
	if got.code != cli.ExitFailed {
		t.Errorf("import %s: exit %d, want %d: %s", strings.Join(args, " "), got.code, cli.ExitFailed, got.stderr)
	}
	for _, want := range wants {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("import %s: stderr lacks %q: %s", strings.Join(args, " "), want, got.stderr)
		}
	}
	if strings.Count(strings.TrimSpace(got.stderr), "\n") > 0 {
		t.Errorf("import %s: more than a sentence: %s", strings.Join(args, " "), got.stderr)
	}
	if show := runIn(t.Context(), m.env, "", "accounts", "show", name); show.code == cli.ExitOK {
		t.Errorf("import %s: the account is there: %s", strings.Join(args, " "), show.stdout)
	}
}

func TestImport(t *testing.T) {
	forEachMovers(t, func(t *testing.T, m *movers) {
		ann, robot := m.user(t, "ann"), m.user(t, "some_bot")
		file := m.session(t, ann, "ann.json")
		must(t, m.env, "", "accounts", "import", "alice", file, "--label", "team=a")
		a := m.account(t, "alice")
		if a.UserID != ann.ID || a.Kind != accounts.User || a.Status != accounts.Active || a.Labels["team"] != "a" || len(a.KeyID) != 16 {
			t.Errorf("imported %+v", a)
		}
		if e := a.Events[0]; e.Kind != accounts.EventAdded || e.Reason != "imported from gotd" || e.Who != cli.Operator() {
			t.Errorf("event %+v", e)
		}
		m.refused(t, "bob", []string{"alice", "the same auth key"}, "bob", file)
		m.refused(t, "bob", []string{"alice", "same user", "--second-session"}, "bob", m.session(t, ann, "second.json"))
		calls := len(m.sim.Calls(tgsim.Filter{Method: "users.getUsers"}))
		if calls != 2 {
			t.Errorf("Telegram was asked %d times, want 2: not about a session that may be in use", calls)
		}
		must(t, m.env, "", "accounts", "import", "ann-2", filepath.Join(m.dir, "second.json"), "--second-session")

		must(t, m.env, "", "accounts", "import", "robot", m.session(t, robot, "bot.json"), "--from", "gotd")
		if a := m.account(t, "robot"); a.Kind != accounts.Bot || a.UserID != robot.ID {
			t.Errorf("a bot was imported as %+v", a)
		}
		got := runIn(t.Context(), m.env, "", "accounts", "import", "robot", m.session(t, m.user(t, "cyd"), "cy.json"))
		if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "the name robot is taken") {
			t.Errorf("a taken name: exit %d: %s", got.code, got.stderr)
		}

		// A session that Telegram has ended.
		dead := m.session(t, m.user(t, "dee"), "dee.json")
		m.sim.RevokeSessions(m.sim.Users()[3].ID)
		m.refused(t, "dee", []string{"not accepted any more", "log in"}, "dee", dead)

		// Without a question to Telegram it is what the file says.
		before := len(m.sim.Calls(tgsim.Filter{}))
		must(t, m.env, "", "accounts", "import", "dee", dead, "--no-verify")
		if n := len(m.sim.Calls(tgsim.Filter{})); n != before {
			t.Errorf("--no-verify made %d calls", n-before)
		}
		if a := m.account(t, "dee"); a.UserID != 0 || a.Status != accounts.Active || a.Events[0].Reason != "imported from gotd, not verified" {
			t.Errorf("not verified: %+v", a)
		}
		for _, v := range m.sim.Stats().Violation {
			t.Errorf("broken rule of MTProto: %+v", v)
		}
	})
}

// pyrogram is a string session as Pyrogram 2 exports it.
func pyrogram(s tgsim.Session, user int64, bot, test bool) string {
	flag := map[bool]byte{true: 1}
	raw := []byte{byte(s.DC)}
	raw = binary.BigEndian.AppendUint32(raw, 4)
	raw = append(append(raw, flag[test]), s.AuthKey[:]...)
	raw = append(binary.BigEndian.AppendUint64(raw, uint64(user)), flag[bot])
	return base64.RawURLEncoding.EncodeToString(raw)
}

// TestImportString takes string sessions from stdin, which say whose they are.
func TestImportString(t *testing.T) {
	t.Parallel()
	m := newMovers(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	u := m.user(t, "ann")
	s, err := m.sim.NewSession(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	got := runIn(t.Context(), m.env, pyrogram(s, u.ID+1, false, false), "accounts", "import", "alice", "-")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, fmt.Sprintf("user %d's, Telegram says user %d's", u.ID+1, u.ID)) {
		t.Errorf("another user's: exit %d: %s", got.code, got.stderr)
	}
	elsewhere := without(m.env, "SWITCHBOARD_TELEGRAM_DC")
	got = runIn(t.Context(), elsewhere, pyrogram(s, u.ID, false, true), "accounts", "import", "alice", "-")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "test servers") {
		t.Errorf("of the test servers: exit %d: %s", got.code, got.stderr)
	}
	must(t, m.env, pyrogram(s, u.ID, false, false), "accounts", "import", "alice", "-", "--from", "pyrogram")
	if a := m.account(t, "alice"); a.UserID != u.ID || a.Events[0].Reason != "imported from pyrogram" {
		t.Errorf("imported %+v", a)
	}
	must(t, m.env, pyrogram(madeUp(1), 42, true, false), "accounts", "import", "robot", "-", "--no-verify")
	if a := m.account(t, "robot"); a.UserID != 42 || a.Kind != accounts.Bot {
		t.Errorf("not verified: %+v", a)
	}
	got = runIn(t.Context(), m.env, pyrogram(madeUp(2), 42, true, false), "accounts", "import", "twin", "-", "--no-verify")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "robot is the same user, 42") {
		t.Errorf("the same user by the file: exit %d: %s", got.code, got.stderr)
	}
	var seen inspected
	out := must(t, nil, pyrogram(s, u.ID, false, true), "accounts", "import", "--inspect", "-", "--json").stdout
	if err := json.Unmarshal([]byte(out), &seen); err != nil || seen.UserID != u.ID || !seen.Test || seen.Format != "pyrogram" {
		t.Errorf("looked at: %s, %v", out, err)
	}
}

// TestImportTData takes the accounts of Telegram Desktop, all or one.
func TestImportTData(t *testing.T) {
	t.Parallel()
	m := newMovers(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	from := filepath.Join("..", "..", "accounts", "sessionfile", "testdata")
	three := filepath.Join(from, "tdata-three")
	var ids []string
	for line := range strings.Lines(must(t, nil, "", "accounts", "import", "--inspect", three, "--json").stdout) {
		var seen inspected
		if err := json.Unmarshal([]byte(line), &seen); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, seen.AuthKeyID)
	}
	must(t, m.env, "", "accounts", "import", "second", three, "--account-index", "2", "--no-verify")
	got := runIn(t.Context(), m.env, "", "accounts", "import", "desk", three, "--no-verify")
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "account desk-2 was not imported: account second has the same auth key") {
		t.Errorf("one is in: exit %d: %s", got.code, got.stderr)
	}
	must(t, m.env, "", "accounts", "import", "third", three, "--account-index", "3", "--no-verify")
	if len(ids) != 3 || m.account(t, "desk").KeyID != ids[0] || m.account(t, "second").KeyID != ids[1] || m.account(t, "third").KeyID != ids[2] {
		t.Errorf("the accounts have other keys than %q", ids)
	}
	m.refusedUsage(t, []string{"passcode"}, "locked", filepath.Join(from, "tdata-passcode"))

	// In a folder each is named by the folder around it.
	if err := os.CopyFS(filepath.Join(m.dir, "Bob", "tdata"), os.DirFS(three)); err != nil {
		t.Fatal(err)
	}
	fresh := &movers{installation: install(t), dir: m.dir}
	lines, code := fresh.folder(t, "--no-verify")
	if code != cli.ExitOK || len(lines) != 3 {
		t.Errorf("exit %d: %+v", code, lines)
	}
	for i, name := range []string{"Bob", "Bob-2", "Bob-3"} {
		if a := fresh.account(t, name); a.KeyID != ids[i] {
			t.Errorf("%s has key %s, want %s", name, a.KeyID, ids[i])
		}
	}
}

func (m *movers) refusedUsage(t testing.TB, wants []string, args ...string) {
	t.Helper()
	got := runIn(t.Context(), m.env, "", append([]string{"accounts", "import"}, args...)...)
	if got.code != cli.ExitUsage {
		t.Errorf("import %s: exit %d: %s", strings.Join(args, " "), got.code, got.stderr)
	}
	for _, want := range wants {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("stderr lacks %q: %s", want, got.stderr)
		}
	}
}

// TestImportPeers sends to peers that the other client knew: nothing is resolved.
func TestImportPeers(t *testing.T) {
	t.Parallel()
	m := newMovers(t, testenv.Postgres(t))
	m.env["SWITCHBOARD_REDIS"] = testenv.Redis(t)
	ann, bob, cy := m.user(t, "ann"), m.user(t, "bob"), m.user(t, "cyd")
	news, err := m.sim.AddChannel("News", "news", ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.sim.NewSession(ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	const longAgo = 1700000000
	file := m.telethon(t, "ann.session", s,
		entity{id: 0, hash: ann.ID}, // Telethon's own note of who it is
		entity{id: bob.ID, hash: m.sim.AccessHash(ann.ID, bob.ID), username: "bob", date: longAgo + 1},
		entity{id: cy.ID, hash: m.sim.AccessHash(ann.ID, cy.ID), phone: 15550001, date: longAgo},
		entity{id: 77, hash: 1, username: "bob", date: longAgo}, // who had the name before
		entity{id: -1000000000000 - news.ID, hash: m.sim.ChannelAccessHash(ann.ID, news.ID), username: "News", date: longAgo},
	)
	var added accountView
	if err := json.Unmarshal([]byte(must(t, m.env, "", "accounts", "import", "alice", file, "--json").stdout), &added); err != nil {
		t.Fatal(err)
	}
	if added.KnownPeers != 4 || added.UserID != ann.ID || m.account(t, "alice").KnownPeers != 4 {
		t.Errorf("imported %+v", added)
	}
	start(t, m.env, "run", "--name", "first")
	m.sends(t, "alice", "@bob", fmt.Sprint(bob.ID), "+15550001", "@NEWS", fmt.Sprint(-1000000000000-news.ID))
	sent := map[int64]int{}
	for _, c := range m.sim.Calls(tgsim.Filter{}) {
		switch {
		case c.Method == "messages.sendMessage" && c.Error == "":
			sent[c.Params.PeerID]++
		case strings.HasPrefix(c.Method, "contacts.") || strings.HasPrefix(c.Method, "users.") && c.Method != "users.getUsers" || strings.HasPrefix(c.Method, "channels."):
			t.Errorf("a peer was asked about: %s", c.Method)
		}
	}
	if n := len(m.sim.Calls(tgsim.Filter{Method: "users.getUsers"})); n != 1 {
		t.Errorf("users.getUsers was called %d times, want once, to verify", n)
	}
	if diff := cmp.Diff(map[int64]int{bob.ID: 2, cy.ID: 1, news.ID: 2}, sent); diff != "" {
		t.Errorf("messages by peer (-want +got):\n%s", diff)
	}
}

// sends sends a message to each peer, and waits for it.
func (m *movers) sends(t testing.TB, from accounts.ID, to ...string) {
	t.Helper()
	rdb, err := cli.OpenRedis(m.env["SWITCHBOARD_REDIS"])
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	client := jobs.NewClient(rdb)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, peer := range to {
		j, err := client.Enqueue(ctx, from, jobs.Send{To: peer, Text: "hi " + peer})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := client.Wait(ctx, j.ID); err != nil || r.State != jobs.Succeeded {
			t.Errorf("send to %s: %+v, %v", peer, r, err)
		}
	}
}

// TestImportRefused is a clear sentence for each mistake, and nothing that is stored.
func TestImportRefused(t *testing.T) {
	t.Parallel()
	m := newMovers(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	file := m.session(t, m.user(t, "ann"), "ann.json")
	otherKey := filepath.Join(t.TempDir(), "other.json")
	must(t, nil, "", "key", "new", otherKey)
	text := m.write(t, "notes.txt", []byte("buy milk\n"))
	must(t, m.env, "", "accounts", "import", "first", m.session(t, m.user(t, "first"), "first.json"))
	empty := t.TempDir()
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want []string
	}{
		{"nothing", m.env, nil, cli.ExitUsage, []string{"NAME and FILE", "--folder"}},
		{"no file", m.env, []string{"ann"}, cli.ExitUsage, []string{"NAME and FILE"}},
		{"bad name", m.env, []string{"a b", file}, cli.ExitUsage, []string{`"a b"`}},
		{"file missing", m.env, []string{"ann", "/no/such/file"}, cli.ExitUsage, []string{"/no/such/file"}},
		{"no session", m.env, []string{"ann", text}, cli.ExitUsage, []string{"notes.txt"}},
		{"unknown format", m.env, []string{"ann", file, "--from", "whatsapp"}, cli.ExitUsage, []string{"whatsapp", "telethon"}},
		{"wrong key", with(m.env, "SWITCHBOARD_KEY_FILE", otherKey), []string{"ann", file}, cli.ExitFailed, []string{"first", "another key"}},
		{"no api id", without(m.env, "SWITCHBOARD_TELEGRAM_API_ID"), []string{"ann", file}, cli.ExitUsage, []string{"--telegram.api-id"}},
		{"looking at nothing", m.env, []string{"--inspect"}, cli.ExitUsage, []string{"--inspect needs one FILE"}},
		{"looking at a folder of files", m.env, []string{"--inspect", "--folder", m.dir}, cli.ExitUsage, []string{"--folder"}},
		{"passcode", m.env, []string{"ann", file, "--passcode-file", "/no/code"}, cli.ExitUsage, []string{"--passcode-file", "/no/code"}},
		{"bad label", m.env, []string{"ann", file, "--label", "x"}, cli.ExitUsage, []string{`"x"`}},
		{"no such account in it", m.env, []string{"ann", file, "--account-index", "2"}, cli.ExitUsage, []string{"--account-index 2", "1 account"}},
		{"Telegram out of reach", with(m.env, "SWITCHBOARD_TELEGRAM_DC", "3="+m.sim.Addr()), []string{"ann", file}, cli.ExitFailed, []string{"data center 2", "ann was not imported"}},
		{"folder missing", m.env, []string{"--folder", "/no/such/folder"}, cli.ExitUsage, []string{"/no/such/folder"}},
		{"empty folder", m.env, []string{"--folder", empty}, cli.ExitFailed, []string{"no file in " + empty}},
		{"folder and name", m.env, []string{"ann", "--folder", m.dir}, cli.ExitUsage, []string{`"ann"`, "--name-from"}},
		{"naming", m.env, []string{"--folder", m.dir, "--name-from", "luck"}, cli.ExitUsage, []string{"luck", "user-id"}},
		{"none at once", m.env, []string{"--folder", m.dir, "--at-once", "0"}, cli.ExitUsage, []string{"--at-once"}},
		{"report exists", m.env, []string{"--folder", m.dir, "--report", text}, cli.ExitUsage, []string{"--report", "not replaced"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := runIn(t.Context(), tt.env, "", append([]string{"accounts", "import"}, tt.args...)...)
			if got.code != tt.code {
				t.Errorf("exit %d, want %d: %s", got.code, tt.code, got.stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr lacks %q: %s", want, got.stderr)
				}
			}
			if lines := strings.Count(strings.TrimSpace(got.stderr), "\n"); lines > 1 {
				t.Errorf("stderr has %d lines, want a sentence and perhaps a hint: %s", lines+1, got.stderr)
			}
		})
	}
	t.Cleanup(func() {
		list := runIn(context.WithoutCancel(t.Context()), m.env, "", "accounts", "list", "--json").stdout
		if strings.Count(list, "\n") != 1 {
			t.Errorf("accounts were stored: %s", list)
		}
	})
}

// TestImportReadOnly is a database that takes nothing.
func TestImportReadOnly(t *testing.T) {
	t.Parallel()
	m := newMovers(t, testenv.Postgres(t))
	file := m.session(t, m.user(t, "ann"), "ann.json")
	m.env["SWITCHBOARD_DATABASE"] += "&options=-c%20default_transaction_read_only%3Don"
	m.refused(t, "alice", []string{"alice was not imported", "read-only"}, "alice", file)
	got := runIn(t.Context(), m.env, "", "accounts", "import", "--folder", m.dir)
	if got.code != cli.ExitFailed || !strings.Contains(got.stderr, "read-only") || !strings.Contains(got.stdout, "not tried") {
		t.Errorf("a folder: exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
}
