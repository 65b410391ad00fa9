package login_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/telegram"
	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const annsPhone = "15550100"

// world is a simulated Telegram with a user who has a phone number.
type world struct {
	*tgsim.Server
	ann tgsim.User
	cfg login.Config
}

func setup(t *testing.T, cfg tgsim.Config) *world {
	t.Helper()
	cfg.OneConnectionPerKey = true
	sim, err := tgsim.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	simtest.Background(t, "simulator", sim.Run)
	w := &world{Server: sim, cfg: login.Config{
		APIID: 1, APIHash: "hash",
		DCs:        map[int]string{sim.DC(): sim.Addr()},
		PublicKeys: []telegram.PublicKey{{RSA: sim.PublicKey()}},
	}}
	w.ann = w.add(t, tgsim.User{FirstName: "Ann", LastName: "Other", Username: "ann", Phone: annsPhone})
	t.Cleanup(func() {
		for _, v := range sim.Stats().Violation {
			t.Errorf("broken rule of MTProto: %+v", v)
		}
	})
	return w
}

func (w *world) add(t *testing.T, u tgsim.User) tgsim.User {
	t.Helper()
	u, err := w.AddUser(u)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// sibling adds another data center.
func (w *world) sibling(t *testing.T, dc int) *tgsim.Server {
	t.Helper()
	sib, err := w.Sibling(tgsim.Config{DC: dc})
	if err != nil {
		t.Fatal(err)
	}
	simtest.Background(t, "sibling", sib.Run)
	w.cfg.DCs[dc] = sib.Addr()
	return sib
}

// session is one that exists.
func (w *world) session(t *testing.T, user int64) accounts.Session {
	t.Helper()
	s, err := w.NewSession(user)
	if err != nil {
		t.Fatal(err)
	}
	key, err := accounts.NewAuthKey(s.AuthKey[:])
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Session{DC: s.DC, Key: key, Salt: s.Salt}
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// isAnn wants the session to be hers, as a worker would find it.
func (w *world) isAnn(t *testing.T, self login.Self, s accounts.Session, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	want := login.Self{UserID: w.ann.ID, Phone: annsPhone, Username: "ann", Name: "Ann Other"}
	if self != want {
		t.Errorf("logged in as %+v, want %+v", self, want)
	}
	again, now, err := login.Verify(timeout(t), w.cfg, s)
	if err != nil || again != want || now.Key.ID() != s.Key.ID() || now.DC != s.DC {
		t.Errorf("verified: %+v at data center %d, %v", again, now.DC, err)
	}
}

func (w *world) calls(method string) int { return len(w.Calls(tgsim.Filter{Method: method})) }

// answers is an Asker that knows what comes.
type answers struct {
	said     []string
	phones   []string
	code     func(n int, s login.Sent) (code string, resend bool, err error) // n from 1
	another  bool
	password []string
	hint     string
	scan     func(n int, url string) error

	codes, scans int
}

func (a *answers) Say(text string) { a.said = append(a.said, text) }

func (a *answers) Phone(context.Context) (string, error) { return next(&a.phones) }

func (a *answers) Code(_ context.Context, s login.Sent) (string, bool, error) {
	a.codes++
	return a.code(a.codes, s)
}

func (a *answers) Another(context.Context) (bool, error) { return a.another, nil }

func (a *answers) Password(_ context.Context, hint string) (string, error) {
	a.hint = hint
	return next(&a.password)
}

func (a *answers) ShowQR(_ context.Context, url string, _ time.Time) error {
	a.scans++
	return a.scan(a.scans, url)
}

func (a *answers) told(text string) bool {
	return slices.ContainsFunc(a.said, func(s string) bool { return strings.Contains(s, text) })
}

var errNoAnswer = errors.New("the test has no answer to that")

func next(list *[]string) (string, error) {
	if len(*list) == 0 {
		return "", errNoAnswer
	}
	first := (*list)[0]
	*list = (*list)[1:]
	return first, nil
}

// right answers with the code that was sent to Ann.
func (w *world) right(int, login.Sent) (string, bool, error) {
	code, ok := w.LoginCode(annsPhone)
	if !ok {
		return "", false, errNoAnswer
	}
	return code, false, nil
}
