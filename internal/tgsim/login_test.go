package tgsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/auth"
	"github.com/gotd/td/telegram/auth/qrlogin"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

const testPhone = "+1 555 0100"

// stock runs gotd's whole client against srv while f runs.
func stock(t *testing.T, srv *tgsim.Server, opts telegram.Options, f func(context.Context, *telegram.Client) error) {
	t.Helper()
	opts.DC = srv.DC()
	opts.PublicKeys = []telegram.PublicKey{{RSA: srv.PublicKey()}}
	opts.Resolver = dcs.Plain(dcs.PlainOptions{})
	opts.DCList = srv.DCList()
	if opts.SessionStorage == nil {
		opts.SessionStorage = &session.StorageMemory{}
	}
	client := telegram.NewClient(1, "hash", opts)
	ctx := timeout(t)
	if err := client.Run(ctx, func(ctx context.Context) error { return f(ctx, client) }); err != nil {
		t.Errorf("client: %v", err)
	}
}

// person adds a user with a phone number.
func person(t *testing.T, srv *tgsim.Server, name, phone string) tgsim.User {
	t.Helper()
	u, err := srv.AddUser(tgsim.User{FirstName: name, Username: name, Phone: phone})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// flow logs in with whatever code was sent to phone.
func flow(srv *tgsim.Server, phone, password string) auth.Flow {
	code := func(context.Context, *tg.AuthSentCode) (string, error) {
		code, ok := srv.LoginCode(phone)
		if !ok {
			return "", errors.New("no code was sent")
		}
		return code, nil
	}
	return auth.NewFlow(auth.Constant(phone, password, auth.CodeAuthenticatorFunc(code)), auth.SendCodeOptions{})
}

func isUser(ctx context.Context, t *testing.T, c *telegram.Client, want int64) {
	t.Helper()
	self, err := c.Self(ctx)
	if err != nil {
		t.Errorf("self: %v", err)
	} else if self.ID != want {
		t.Errorf("signed in as %d, want %d", self.ID, want)
	}
}

func TestLoginByCode(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann := person(t, srv, "ann", "15550100")
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		if st, err := c.Auth().Status(ctx); err != nil || st.Authorized {
			t.Errorf("status before: %+v, %v", st, err)
		}
		if err := flow(srv, testPhone, "").Run(ctx, c.Auth()); err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		if _, ok := srv.LoginCode(testPhone); ok {
			t.Error("the code still works")
		}
		if _, err := c.API().AuthLogOut(ctx); err != nil {
			t.Errorf("log out: %v", err)
		}
		if _, err := c.Self(ctx); !auth.IsUnauthorized(err) {
			t.Errorf("self after log out: %v", err)
		}
		// A key that lost its user may get another.
		if err := flow(srv, testPhone, "").Run(ctx, c.Auth()); err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		// So may a key whose authorization was ended from elsewhere.
		srv.RevokeSessions(ann.ID)
		if _, err := c.Self(ctx); !auth.IsUnauthorized(err) {
			t.Errorf("self after the revocation: %v", err)
		}
		if err := flow(srv, testPhone, "").Run(ctx, c.Auth()); err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	quiet(t, srv)
}

func TestLoginCodeRefused(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	person(t, srv, "ann", testPhone)
	const free = "15550199"
	fails := func(err error, want string) {
		t.Helper()
		if !tgerr.Is(err, want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		a := c.Auth()
		sent := func(phone string) (hash, code string) {
			t.Helper()
			v, err := a.SendCode(ctx, phone, auth.SendCodeOptions{})
			if err != nil {
				t.Fatalf("send code: %v", err)
			}
			code, _ = srv.LoginCode(phone)
			return v.(*tg.AuthSentCode).PhoneCodeHash, code
		}
		signIn := func(phone, code, hash string) error {
			_, err := a.SignIn(ctx, phone, code, hash)
			return err
		}
		_, err := a.SendCode(ctx, "abc", auth.SendCodeOptions{})
		fails(err, "PHONE_NUMBER_INVALID")
		_, err = c.API().AuthSendCode(ctx, &tg.AuthSendCodeRequest{PhoneNumber: testPhone, APIHash: "x"})
		fails(err, "API_ID_INVALID")

		hash, code := sent(testPhone)
		fails(signIn(testPhone, "", hash), "PHONE_CODE_EMPTY")
		fails(signIn(testPhone, code, ""), "PHONE_CODE_HASH_EMPTY")
		fails(signIn(testPhone, code+"0", hash), "PHONE_CODE_INVALID")
		fails(signIn(testPhone, code, "other"), "PHONE_CODE_EXPIRED")
		srv.ExpireLoginCode(testPhone)
		fails(signIn(testPhone, code, hash), "PHONE_CODE_EXPIRED")

		hash, code = sent(testPhone)
		if _, err := a.ResendCode(ctx, testPhone, hash); err != nil {
			t.Errorf("resend: %v", err)
		}
		fails(signIn(testPhone, code, hash), "PHONE_CODE_EXPIRED")

		hash, code = sent(testPhone)
		if _, err := c.API().AuthCancelCode(ctx, &tg.AuthCancelCodeRequest{PhoneNumber: testPhone, PhoneCodeHash: hash}); err != nil {
			t.Errorf("cancel: %v", err)
		}
		fails(signIn(testPhone, code, hash), "PHONE_CODE_EXPIRED")

		hash, code = sent(free)
		var nobody *auth.SignUpRequired
		if err := signIn(free, code, hash); !errors.As(err, &nobody) {
			t.Errorf("a free number: %v", err)
		}
		up := func(phone, name string) error {
			_, err := a.SignUp(ctx, auth.SignUp{PhoneNumber: phone, PhoneCodeHash: hash, FirstName: name})
			return err
		}
		fails(up(free, ""), "FIRSTNAME_INVALID")
		fails(up(free, "Eve"), "UPDATE_APP_TO_LOGIN")
		fails(up(testPhone, "Eve"), "PHONE_NUMBER_OCCUPIED")

		_, err = c.API().AuthExportAuthorization(ctx, 4)
		fails(err, "AUTH_KEY_UNREGISTERED")
		_, err = c.API().AccountGetPassword(ctx)
		fails(err, "AUTH_KEY_UNREGISTERED")
		return nil
	})
	quiet(t, srv)
}

func TestLoginWithPassword(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann := person(t, srv, "ann", testPhone)
	if err := srv.SetPassword(ann.ID, "correct horse", "battery"); err != nil {
		t.Fatal(err)
	}
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		err := flow(srv, testPhone, "wrong").Run(ctx, c.Auth())
		if !errors.Is(err, auth.ErrPasswordInvalid) {
			t.Errorf("wrong password: %v", err)
		}
		if _, err := c.Self(ctx); !auth.IsUnauthorized(err) {
			t.Errorf("self without the password: %v", err)
		}
		p, err := c.API().AccountGetPassword(ctx)
		if err != nil || p.Hint != "battery" {
			t.Errorf("password: hint %q, %v", p.Hint, err)
		}
		_, err = c.API().AuthCheckPassword(ctx, &tg.InputCheckPasswordSRP{SRPID: p.SRPID + 1, A: make([]byte, 256), M1: make([]byte, 32)})
		if !tgerr.Is(err, "SRP_ID_INVALID") {
			t.Errorf("another srp_id: %v", err)
		}
		// With g_a = 0 the shared secret is 0, whatever the password.
		_, err = c.API().AuthCheckPassword(ctx, &tg.InputCheckPasswordSRP{SRPID: p.SRPID, A: make([]byte, 256), M1: make([]byte, 32)})
		if !tgerr.Is(err, "PASSWORD_HASH_INVALID") {
			t.Errorf("g_a = 0: %v", err)
		}
		if _, err := c.Auth().Password(ctx, "correct horse"); err != nil {
			t.Errorf("password: %v", err)
		}
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	quiet(t, srv)
}

func TestLoginOfBot(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	bot, err := srv.AddUser(tgsim.User{FirstName: "Bot", Username: "testbot", Bot: true})
	if err != nil {
		t.Fatal(err)
	}
	old, ok := srv.BotToken(bot.ID)
	if !ok {
		t.Fatal("no token")
	}
	token := strings.TrimSuffix(old, old[len(old)-8:]) + "changed_"
	if err := srv.SetBotToken(bot.ID, token); err != nil {
		t.Fatal(err)
	}
	if err := srv.SetBotToken(bot.ID, "1:abcdefgh"); err == nil {
		t.Error("a token of another bot was taken")
	}
	if _, ok := srv.BotToken(person(t, srv, "ann", "").ID); ok {
		t.Error("a user has a token")
	}
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		if _, err := c.Auth().Bot(ctx, "1:nonsense"); !tgerr.Is(err, "ACCESS_TOKEN_INVALID") {
			t.Errorf("unknown token: %v", err)
		}
		if _, err := c.Auth().Bot(ctx, old); !tgerr.Is(err, "ACCESS_TOKEN_EXPIRED") {
			t.Errorf("old token: %v", err)
		}
		if _, err := c.Auth().Bot(ctx, token); err != nil {
			return err
		}
		isUser(ctx, t, c, bot.ID)
		return nil
	})
	quiet(t, srv)
}

func TestLoginByQR(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann := person(t, srv, "ann", testPhone)
	sess, err := srv.NewSession(ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	phone := connect(t, srv, sess)
	if err := srv.SetPassword(ann.ID, "secret", ""); err != nil {
		t.Fatal(err)
	}
	// qrlogin.OnLoginToken drops an update that comes while show runs.
	updates, accepted := tg.NewUpdateDispatcher(), make(chan struct{}, 1)
	updates.OnLoginToken(func(context.Context, tg.Entities, *tg.UpdateLoginToken) error {
		accepted <- struct{}{}
		return nil
	})
	stock(t, srv, telegram.Options{UpdateHandler: updates}, func(ctx context.Context, c *telegram.Client) error {
		accept := func(ctx context.Context, token qrlogin.Token) error {
			if _, err := qrlogin.AcceptQR(ctx, phone.Client, token); err != nil {
				t.Errorf("accept: %v", err)
			}
			if _, err := qrlogin.AcceptQR(ctx, phone.Client, token); !tgerr.Is(err, "AUTH_TOKEN_ALREADY_ACCEPTED") {
				t.Errorf("accept again: %v", err)
			}
			return nil
		}
		if _, err := phone.AuthAcceptLoginToken(ctx, []byte("x")); !tgerr.Is(err, "AUTH_TOKEN_INVALIDX") {
			t.Errorf("unknown token: %v", err)
		}
		_, err := c.QR().Auth(ctx, accepted, accept)
		if !tgerr.Is(err, "SESSION_PASSWORD_NEEDED") {
			t.Errorf("QR with a password on the account: %v", err)
		}
		if _, err := c.Auth().Password(ctx, "secret"); err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	stock(t, srv, telegram.Options{UpdateHandler: updates}, func(ctx context.Context, c *telegram.Client) error {
		if err := srv.SetPassword(ann.ID, "", ""); err != nil {
			return err
		}
		refused := errors.New("refused")
		_, err := c.QR().Auth(ctx, accepted, func(ctx context.Context, token qrlogin.Token) error {
			if _, err := qrlogin.AcceptQR(ctx, phone.Client, token); !tgerr.Is(err, "AUTH_TOKEN_EXCEPTION") {
				t.Errorf("accept by a user the client knows: %v", err)
			}
			return refused
		}, ann.ID)
		if !errors.Is(err, refused) {
			t.Errorf("QR: %v", err)
		}
		_, err = c.QR().Auth(ctx, accepted, func(ctx context.Context, token qrlogin.Token) error {
			_, err := qrlogin.AcceptQR(ctx, phone.Client, token)
			return err
		})
		if err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	quiet(t, srv)
}

func TestControlLogin(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	h := srv.Handler()
	tests := []struct {
		body   string
		status int
		says   string
	}{
		{`{"first_name":"Ann","phone":"15550100","password":"secret","hint":"h"}`, http.StatusCreated, `"user"`},
		{`{"id":77,"bot":true,"bot_token":"77:abcdefgh"}`, http.StatusCreated, `"bot_token":"77:abcdefgh"`},
		{`{"bot":true}`, http.StatusCreated, `"bot_token"`},
		{`{"id":78,"bot":true,"bot_token":"77:abcdefgh"}`, http.StatusBadRequest, "a token of bot 78"},
		{`{"bot":true,"bot_token":"77:abcdefgh"}`, http.StatusBadRequest, "give the id"},
		{`{"bot_token":"77:abcdefgh"}`, http.StatusBadRequest, "only a bot"},
		{`{"bot":true,"password":"x"}`, http.StatusBadRequest, "no password"},
	}
	for _, tt := range tests {
		if code, out := do(t, h, "POST", "/accounts", tt.body); code != tt.status || !strings.Contains(out, tt.says) {
			t.Errorf("POST /accounts %s: %d %s", tt.body, code, out)
		}
	}
	if code, _ := do(t, h, "GET", "/codes?phone=abc", ""); code != http.StatusBadRequest {
		t.Errorf("GET /codes of no number: %d", code)
	}
	if code, _ := do(t, h, "GET", "/codes?phone=15550100", ""); code != http.StatusNotFound {
		t.Errorf("GET /codes before: %d", code)
	}
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		sent, err := c.Auth().SendCode(ctx, testPhone, auth.SendCodeOptions{})
		if err != nil {
			return err
		}
		_, out := do(t, h, "GET", "/codes?phone=%2B15550100", "")
		var made struct{ Phone, Code string }
		if err := json.Unmarshal([]byte(out), &made); err != nil {
			return err
		}
		_, err = c.Auth().SignIn(ctx, testPhone, made.Code, sent.(*tg.AuthSentCode).PhoneCodeHash)
		if !errors.Is(err, auth.ErrPasswordAuthNeeded) {
			t.Errorf("sign in: %v", err)
		}
		_, err = c.Auth().Password(ctx, "secret")
		return err
	})
	if code, out := do(t, h, "GET", "/accounts", ""); code != http.StatusOK || strings.Contains(out, "secret") {
		t.Errorf("GET /accounts: %d %s", code, out)
	}
}
