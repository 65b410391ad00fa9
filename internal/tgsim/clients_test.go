package tgsim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// talk is what a client has to do; the scripts in testdata/clients read it as
// JSON. Both parties sign in, Me looks Peer up, sends, and reads the history.
type talk struct {
	Host      string `json:"host"`
	Port      int    `json:"port"`
	DC        int    `json:"dc"`
	PublicKey string `json:"public_key"` // PEM
	Control   string `json:"control"`    // login codes: GET /codes?phone=
	Me        party  `json:"me"`
	Peer      party  `json:"peer"`
	Text      string `json:"text"` // followed by the number of the message
	Sends     int    `json:"sends"`
	InFlight  int    `json:"in_flight"`
}

// party is an account: with an auth key it is signed in already.
type party struct {
	Username string `json:"username"`
	Phone    string `json:"phone,omitempty"`
	Password string `json:"password,omitempty"`
	AuthKey  []byte `json:"auth_key,omitempty"`

	id   int64
	sess tgsim.Session
}

// said is what came of it.
type said struct {
	Me      int64    `json:"me"`
	Found   int64    `json:"found"`
	Sent    int      `json:"sent"`    // different message ids
	History []string `json:"history"` // the latest 5
	Update  string   `json:"update"`  // the first that Peer heard
}

// independent is a client that is not ours.
type independent struct {
	name   string
	layer  int
	script string
	argv   []string // interpreter; nil = not installed
	run    func(context.Context, *tgsim.Server, talk) (said, error)
}

// independents lists the clients. gotd is always here; the others where they
// are installed: Python with telethon (TEST_PYTHON names the interpreter, else
// python3 or Debian's), Node with the packages telegram and @mtcute/node in the
// node_modules folder that TEST_NODE_MODULES names:
//
//	apt-get install python3-telethon
//	npm install --prefix DIR telegram @mtcute/node; TEST_NODE_MODULES=DIR/node_modules
func independents(ctx context.Context) []independent {
	all := []independent{
		{name: "gotd", layer: tg.Layer, run: talkGotd},
		{name: "telethon", layer: 144, script: "telethon.py"},
		{name: "gramjs", layer: 198, script: "gramjs.mjs"},
		{name: "mtcute", layer: 227, script: "mtcute.mjs"},
	}
	for _, python := range []string{os.Getenv("TEST_PYTHON"), "python3", "/usr/bin/python3"} {
		if python != "" && exec.CommandContext(ctx, python, "-c", "import telethon").Run() == nil {
			all[1].argv = []string{python}
			break
		}
	}
	modules := os.Getenv("TEST_NODE_MODULES")
	if node, err := exec.LookPath("node"); err == nil && modules != "" {
		for i, pkg := range map[int]string{2: "telegram", 3: "@mtcute/node"} {
			if _, err := os.Stat(filepath.Join(modules, pkg, "package.json")); err == nil {
				all[i].argv = []string{node}
			}
		}
	}
	for i, c := range all {
		if c.argv != nil {
			all[i].run = c.runScript
		}
	}
	return all
}

func (c independent) runScript(ctx context.Context, _ *tgsim.Server, cfg talk) (said, error) {
	dir, err := os.MkdirTemp("", "tgsim")
	if err != nil {
		return said{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	data, err := json.Marshal(cfg)
	if err != nil {
		return said{}, err
	}
	file := filepath.Join(dir, "talk.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return said{}, err
	}
	cmd := exec.CommandContext(ctx, c.argv[0], filepath.Join("testdata", "clients", c.script), file)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return said{}, fmt.Errorf("%w\n%s%s", err, &out, &errs)
	}
	// The last line counts: Telethon says hello on its own.
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var res said
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &res); err != nil {
		return said{}, fmt.Errorf("%w: %s%s", err, &out, &errs)
	}
	return res, nil
}

// talkGotd is the talk with gotd's own client.
func talkGotd(ctx context.Context, srv *tgsim.Server, cfg talk) (res said, err error) {
	heard := make(chan string, 1)
	ann := func(ctx context.Context, c *telegram.Client) error {
		self, err := c.Self(ctx)
		if err != nil {
			return err
		}
		found, err := c.API().ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: cfg.Peer.Username})
		if err != nil {
			return err
		}
		peer := found.Users[0].(*tg.User)
		res.Me, res.Found = self.ID, peer.ID
		ids := make([]int, cfg.Sends)
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(cfg.InFlight)
		for i := range cfg.Sends {
			g.Go(func() error {
				up, err := c.API().MessagesSendMessage(gctx, &tg.MessagesSendMessageRequest{
					Peer: peer.AsInputPeer(), Message: fmt.Sprintf("%s %d", cfg.Text, i), RandomID: int64(i + 1),
				})
				if err == nil {
					ids[i] = up.(*tg.UpdateShortSentMessage).ID
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		slices.Sort(ids)
		res.Sent = len(slices.Compact(ids))
		history, err := c.API().MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: peer.AsInputPeer(), Limit: 5})
		if err != nil {
			return err
		}
		msgs, _ := history.AsModified()
		for _, m := range msgs.GetMessages() {
			res.History = append(res.History, m.(*tg.Message).Message)
		}
		select {
		case res.Update = <-heard:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("no update: %w", ctx.Err())
		}
	}
	hear := telegram.UpdateHandlerFunc(func(_ context.Context, u tg.UpdatesClass) error {
		if up, ok := u.(*tg.Updates); ok {
			for _, one := range up.Updates {
				if m, ok := one.(*tg.UpdateNewMessage); ok {
					select {
					case heard <- m.Message.(*tg.Message).Message:
					default:
					}
				}
			}
		}
		return nil
	})
	return res, runGotd(ctx, srv, cfg.Peer, hear, func(ctx context.Context, c *telegram.Client) error {
		return runGotd(ctx, srv, cfg.Me, nil, ann)
	})
}

// runGotd signs a party in and runs f.
func runGotd(ctx context.Context, srv *tgsim.Server, p party, h telegram.UpdateHandler, f func(context.Context, *telegram.Client) error) error {
	storage := &session.StorageMemory{}
	if p.AuthKey != nil {
		data, err := srv.SessionJSON(p.sess)
		if err != nil {
			return err
		}
		if err := storage.StoreSession(ctx, data); err != nil {
			return err
		}
	}
	c := telegram.NewClient(1, "x", telegram.Options{
		DC: srv.DC(), DCList: srv.DCList(), Resolver: dcs.Plain(dcs.PlainOptions{}),
		PublicKeys: []telegram.PublicKey{{RSA: srv.PublicKey()}}, SessionStorage: storage, UpdateHandler: h,
	})
	return c.Run(ctx, func(ctx context.Context) error {
		if p.AuthKey == nil {
			if err := flow(srv, p.Phone, p.Password).Run(ctx, c.Auth()); err != nil {
				return err
			}
		}
		return f(ctx, c)
	})
}

// TestClients lets clients that were written against Telegram talk here, with
// nothing changed but the address and the key, and finds no rule broken.
func TestClients(t *testing.T) {
	t.Parallel()
	ways := []struct {
		name  string
		ready bool
		pass  string
		sends int
	}{
		{"session", true, "", 200},
		{"code", false, "", 3},
		{"password", false, "s3cret", 3},
	}
	for _, c := range independents(t.Context()) {
		if c.run == nil {
			t.Logf("%s is not installed, see independents", c.name)
			continue
		}
		for _, w := range ways {
			t.Run(c.name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				srv := setup(t, tgsim.Config{})
				control := httptest.NewServer(srv.Handler())
				defer control.Close()
				host, port, _ := net.SplitHostPort(srv.Addr())
				n, _ := strconv.Atoi(port)
				cfg := talk{
					Host: host, Port: n, DC: srv.DC(), PublicKey: string(srv.PublicKeyPEM()), Control: control.URL,
					Text: "hello", Sends: w.sends, InFlight: 50,
				}
				for i, p := range []*party{&cfg.Me, &cfg.Peer} {
					*p = party{Username: []string{"annette", "bobbert"}[i], Phone: fmt.Sprintf("1555010%d", i), Password: w.pass}
					p.id = person(t, srv, p.Username, p.Phone).ID
					if w.pass != "" {
						if err := srv.SetPassword(p.id, w.pass, "hint"); err != nil {
							t.Fatal(err)
						}
					}
					if w.ready {
						var err error
						if p.sess, err = srv.NewSession(p.id); err != nil {
							t.Fatal(err)
						}
						key := crypto.Key(p.sess.AuthKey)
						p.AuthKey = key[:]
					}
				}
				// Key exchanges take seconds each under the race detector.
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				res, err := c.run(ctx, srv, cfg)
				if err != nil {
					t.Fatal(err)
				}
				if res.Me != cfg.Me.id || res.Found != cfg.Peer.id || res.Sent != w.sends {
					t.Errorf("%+v, want %d to find %d and send %d", res, cfg.Me.id, cfg.Peer.id, w.sends)
				}
				for _, text := range append(res.History, res.Update) {
					if !strings.HasPrefix(text, "hello ") {
						t.Errorf("heard %q", text)
					}
				}
				if len(res.History) != min(5, w.sends) {
					t.Errorf("history: %q", res.History)
				}
				effects, texts := 0, map[string]bool{}
				for _, call := range srv.Calls(tgsim.Filter{Account: cfg.Me.id, Method: "messages.sendMessage"}) {
					if call.Layer != c.layer {
						t.Errorf("layer %d, want %d", call.Layer, c.layer)
					}
					if call.Effect {
						effects++
						texts[call.Params.Message] = true
					}
				}
				if effects != w.sends || len(texts) != w.sends {
					t.Errorf("%d effects, %d texts, want %d", effects, len(texts), w.sends)
				}
				quiet(t, srv)
			})
		}
	}
}
