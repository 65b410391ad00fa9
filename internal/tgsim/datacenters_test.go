package tgsim_test

import (
	"context"
	"testing"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/auth/qrlogin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// sibling runs another data centre of srv's world for the time of a test.
func sibling(t *testing.T, srv *tgsim.Server, dc int) *tgsim.Server {
	t.Helper()
	sib, err := srv.Sibling(tgsim.Config{DC: dc})
	if err != nil {
		t.Fatal(err)
	}
	run(t, sib)
	return sib
}

func TestMigration(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	four := sibling(t, srv, 4)
	ann := person(t, srv, "ann", testPhone)
	bot, err := srv.AddUser(tgsim.User{Username: "testbot", Bot: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int64{ann.ID, bot.ID} {
		if err := srv.SetHome(id, 4); err != nil {
			t.Fatal(err)
		}
	}
	if err := srv.SetHome(ann.ID, 5); err == nil {
		t.Error("a user was moved to a data centre that is not there")
	}
	refusedAt2 := func(account int64, method, want string) {
		t.Helper()
		calls := srv.Calls(tgsim.Filter{Method: method})
		if len(calls) == 0 || calls[len(calls)-1].Error != want {
			t.Errorf("%s in data centre 2: %+v, want %s", method, calls, want)
		}
		if calls := four.Calls(tgsim.Filter{Method: "users.getUsers", Account: account}); len(calls) == 0 {
			t.Errorf("%d did not arrive in data centre 4", account)
		}
	}
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		if err := flow(srv, testPhone, "").Run(ctx, c.Auth()); err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	refusedAt2(ann.ID, "auth.sendCode", "PHONE_MIGRATE_4")
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		token, _ := four.BotToken(bot.ID)
		if _, err := c.Auth().Bot(ctx, token); err != nil {
			return err
		}
		isUser(ctx, t, c, bot.ID)
		return nil
	})
	refusedAt2(bot.ID, "auth.importBotAuthorization", "USER_MIGRATE_4")

	sess, err := four.NewSession(ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	phone := connect(t, four, sess)
	updates, accepted := tg.NewUpdateDispatcher(), make(chan struct{}, 1)
	updates.OnLoginToken(func(context.Context, tg.Entities, *tg.UpdateLoginToken) error {
		accepted <- struct{}{}
		return nil
	})
	stock(t, srv, telegram.Options{UpdateHandler: updates}, func(ctx context.Context, c *telegram.Client) error {
		_, err := c.QR().Auth(ctx, accepted, func(ctx context.Context, token qrlogin.Token) error {
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
	quiet(t, four)
}

func TestExportAuthorization(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	four := sibling(t, srv, 4)
	ann := person(t, srv, "ann", testPhone)
	bob := person(t, srv, "bob", "")
	stock(t, srv, telegram.Options{}, func(ctx context.Context, c *telegram.Client) error {
		if err := flow(srv, testPhone, "").Run(ctx, c.Auth()); err != nil {
			return err
		}
		pool, err := c.DC(ctx, 4, 1)
		if err != nil {
			return err
		}
		users, err := tg.NewClient(pool).UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}})
		if err != nil || len(users) != 1 || users[0].GetID() != ann.ID {
			t.Errorf("self in data centre 4: %v, %v", users, err)
		}
		if _, err := c.API().AuthExportAuthorization(ctx, 2); !tgerr.Is(err, "DC_ID_INVALID") {
			t.Errorf("export to the same data centre: %v", err)
		}
		if _, err := c.API().AuthExportAuthorization(ctx, 3); !tgerr.Is(err, "DC_ID_INVALID") {
			t.Errorf("export to nowhere: %v", err)
		}
		out, err := c.API().AuthExportAuthorization(ctx, 4)
		if err != nil {
			return err
		}
		at2 := tg.NewClient(c)
		for name, req := range map[string]*tg.AuthImportAuthorizationRequest{
			"another data centre": {ID: out.ID, Bytes: out.Bytes},
			"unknown bytes":       {ID: out.ID, Bytes: []byte("x")},
		} {
			if _, err := at2.AuthImportAuthorization(ctx, req); !tgerr.Is(err, "AUTH_BYTES_INVALID") {
				t.Errorf("import, %s: %v", name, err)
			}
		}
		at4 := tg.NewClient(pool)
		if _, err := at4.AuthImportAuthorization(ctx, &tg.AuthImportAuthorizationRequest{ID: bob.ID, Bytes: out.Bytes}); !tgerr.Is(err, "AUTH_BYTES_INVALID") {
			t.Errorf("import of another user: %v", err)
		}
		if _, err := at4.AuthImportAuthorization(ctx, &tg.AuthImportAuthorizationRequest{ID: out.ID, Bytes: out.Bytes}); err != nil {
			t.Errorf("import: %v", err)
		}
		if _, err := at4.AuthImportAuthorization(ctx, &tg.AuthImportAuthorizationRequest{ID: out.ID, Bytes: out.Bytes}); !tgerr.Is(err, "AUTH_BYTES_INVALID") {
			t.Errorf("import again: %v", err)
		}
		return pool.Close()
	})
	quiet(t, srv)
	quiet(t, four)
}

func TestMethodHome(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	four := sibling(t, srv, 4)
	for method, dc := range map[string]int{"upload.getFile": 3, "upload.getfile": 4, "auth.exportAuthorization": 4} {
		if err := srv.SetMethodHome(method, dc); err == nil {
			t.Errorf("%s was moved to data centre %d", method, dc)
		}
	}
	ann, sess := user(t, srv, "ann")
	sess4, err := four.NewSession(ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, at2, at4 := timeout(t), connect(t, srv, sess), connect(t, four, sess4)
	file := func(c *tg.Client) error {
		_, err := c.UploadGetFile(ctx, &tg.UploadGetFileRequest{Location: &tg.InputTakeoutFileLocation{}, Limit: 1024})
		return err
	}
	graph := func(c *tg.Client) error {
		_, err := c.StatsLoadAsyncGraph(ctx, &tg.StatsLoadAsyncGraphRequest{Token: "x"})
		return err
	}
	for _, tt := range []struct {
		method, want string
		call         func(*tg.Client) error
	}{{"upload.getFile", "FILE_MIGRATE", file}, {"stats.loadAsyncGraph", "STATS_MIGRATE", graph}} {
		for _, c := range []*tg.Client{at2.Client, at4.Client} {
			if err := tt.call(c); err != nil {
				t.Errorf("%s before it moved: %v", tt.method, err)
			}
		}
		if err := srv.SetMethodHome(tt.method, 4); err != nil {
			t.Fatal(err)
		}
		e, ok := tgerr.As(tt.call(at2.Client))
		if !ok || e.Code != 303 || e.Type != tt.want || e.Argument != 4 {
			t.Errorf("%s elsewhere: %v, want 303 %s_4", tt.method, e, tt.want)
		}
		if err := tt.call(at4.Client); err != nil {
			t.Errorf("%s at home: %v", tt.method, err)
		}
		if err := four.SetMethodHome(tt.method, 0); err != nil {
			t.Fatal(err)
		}
		if err := tt.call(at2.Client); err != nil {
			t.Errorf("%s after it moved back: %v", tt.method, err)
		}
	}
	// A key without the authorization is sent to log in, not elsewhere.
	if err := srv.SetMethodHome("upload.getFile", 4); err != nil {
		t.Fatal(err)
	}
	srv.RevokeSessions(ann.ID)
	if err := file(at2.Client); !tgerr.Is(err, "AUTH_KEY_UNREGISTERED") {
		t.Errorf("without an authorization: %v", err)
	}
}

func TestOneWorld(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	four := sibling(t, srv, 4)
	if _, err := srv.Sibling(tgsim.Config{DC: 4}); err == nil {
		t.Error("two data centres 4")
	}
	if _, err := srv.Sibling(tgsim.Config{}); err == nil {
		t.Error("a sibling without a number")
	}
	_, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, four, "bob")
	rawDial(t, four, annSess, transport.Intermediate).refusedAt(t, 404)

	a, b := connect(t, srv, annSess), connect(t, four, bobSess)
	ctx := timeout(t)
	cfg, err := a.HelpGetConfig(ctx)
	if err != nil || len(cfg.DCOptions) != 2 || cfg.ThisDC != 2 || cfg.DCOptions[1].ID != 4 {
		t.Errorf("config: %+v, %v", cfg, err)
	}
	got, err := a.ContactsResolveUsername(ctx, &tg.ContactsResolveUsernameRequest{Username: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	req := &tg.MessagesSendMessageRequest{Peer: got.Users[0].(*tg.User).AsInputPeer(), Message: "hello", RandomID: 1}
	if _, err := a.MessagesSendMessage(ctx, req); err != nil {
		t.Fatal(err)
	}
	select {
	case up := <-b.handler.updates:
		if m := up.Updates[0].(*tg.UpdateNewMessage).Message.(*tg.Message); m.Message != "hello" {
			t.Errorf("%d got %+v", bob.ID, m)
		}
	case <-ctx.Done():
		t.Error("no update from the other data centre")
	}
}

// refusedAt sends a legal frame and waits for the transport error.
func (r *rawClient) refusedAt(t *testing.T, code int32) {
	t.Helper()
	r.call(&tg.HelpGetConfigRequest{})
	r.refused(code)
}
