package tgsim_test

import (
	"context"
	"testing"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestPFS(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann := person(t, srv, "ann", testPhone)
	storage := &session.StorageMemory{}
	opts := telegram.Options{EnablePFS: true, SessionStorage: storage}
	stock(t, srv, opts, func(ctx context.Context, c *telegram.Client) error {
		if err := flow(srv, testPhone, "").Run(ctx, c.Auth()); err != nil {
			return err
		}
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	// The permanent key is what is signed in: a new temporary one is enough.
	stock(t, srv, opts, func(ctx context.Context, c *telegram.Client) error {
		isUser(ctx, t, c, ann.ID)
		return nil
	})
	if n := srv.ExpireTempKeys(ann.ID); n < 2 {
		t.Errorf("%d temporary keys, want 2 or more", n)
	}
	quiet(t, srv)
}

// tempKey makes a temporary key and a connection that uses it.
func tempKey(t *testing.T, srv *tgsim.Server) *rawClient {
	t.Helper()
	r := rawDial(t, srv, tgsim.Session{}, transport.Intermediate)
	res, err := exchange.NewExchanger(r.conn, srv.DC()).WithTimeout(limit).WithTempMode(3600).
		Client([]exchange.PublicKey{{RSA: srv.PublicKey()}}).
		Run(timeout(t))
	if err != nil {
		t.Fatalf("key exchange: %v", err)
	}
	r.key, r.salt = res.AuthKey, res.ServerSalt
	return r
}

func TestBindTempAuthKey(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, annSess := user(t, srv, "ann")
	perm := crypto.Key(annSess.AuthKey).WithID()
	until := int(time.Now().Add(time.Hour).Unix())

	r := tempKey(t, srv)
	id := r.call(initial(&tg.HelpGetConfigRequest{}))
	m, err := r.next() // new_session_created
	if err != nil {
		t.Fatalf("%v, %v", m, err)
	}
	r.fails(id, 401, "AUTH_KEY_PERM_EMPTY")

	// bind sends a binding that change made wrong.
	bind := func(r *rawClient, change func(inner *crypto.BindAuthKeyInner, req *tg.AuthBindTempAuthKeyRequest, msgID *int64)) int64 {
		t.Helper()
		id := r.newID()
		inner := &crypto.BindAuthKeyInner{Nonce: 7, TempAuthKeyID: r.key.IntID(), PermAuthKeyID: perm.IntID(), TempSessionID: r.session, ExpiresAt: until}
		req := &tg.AuthBindTempAuthKeyRequest{PermAuthKeyID: perm.IntID(), Nonce: 7, ExpiresAt: until}
		inside := id
		change(inner, req, &inside)
		if req.EncryptedMessage == nil {
			var err error
			if req.EncryptedMessage, err = crypto.EncryptBindMessage(crypto.DefaultRand(), perm, inside, inner); err != nil {
				t.Fatal(err)
			}
		}
		r.frame(id, r.odd(), encode(t, req))
		return id
	}
	type change = func(*crypto.BindAuthKeyInner, *tg.AuthBindTempAuthKeyRequest, *int64)
	for name, tt := range map[string]struct {
		change change
		want   string
	}{
		"nonce":    {func(i *crypto.BindAuthKeyInner, _ *tg.AuthBindTempAuthKeyRequest, _ *int64) { i.Nonce++ }, "ENCRYPTED_MESSAGE_INVALID"},
		"temp key": {func(i *crypto.BindAuthKeyInner, _ *tg.AuthBindTempAuthKeyRequest, _ *int64) { i.TempAuthKeyID++ }, "ENCRYPTED_MESSAGE_INVALID"},
		"session":  {func(i *crypto.BindAuthKeyInner, _ *tg.AuthBindTempAuthKeyRequest, _ *int64) { i.TempSessionID++ }, "ENCRYPTED_MESSAGE_INVALID"},
		"expiry":   {func(i *crypto.BindAuthKeyInner, _ *tg.AuthBindTempAuthKeyRequest, _ *int64) { i.ExpiresAt++ }, "ENCRYPTED_MESSAGE_INVALID"},
		"msg_id":   {func(_ *crypto.BindAuthKeyInner, _ *tg.AuthBindTempAuthKeyRequest, id *int64) { *id += 4 }, "ENCRYPTED_MESSAGE_INVALID"},
		"perm key": {func(_ *crypto.BindAuthKeyInner, req *tg.AuthBindTempAuthKeyRequest, _ *int64) { req.PermAuthKeyID++ }, "ENCRYPTED_MESSAGE_INVALID"},
		"too short": {func(_ *crypto.BindAuthKeyInner, req *tg.AuthBindTempAuthKeyRequest, _ *int64) {
			req.EncryptedMessage = []byte("x")
		}, "ENCRYPTED_MESSAGE_INVALID"},
		"garbage": {func(_ *crypto.BindAuthKeyInner, req *tg.AuthBindTempAuthKeyRequest, _ *int64) {
			req.EncryptedMessage = append(perm.ID[:], make([]byte, 16+96)...)
		}, "ENCRYPTED_MESSAGE_INVALID"},
		"past": {func(_ *crypto.BindAuthKeyInner, req *tg.AuthBindTempAuthKeyRequest, _ *int64) { req.ExpiresAt = 1 }, "EXPIRES_AT_INVALID"},
	} {
		t.Run(name, func(t *testing.T) { r.fails(bind(r, tt.change), 400, tt.want) })
	}
	right := func(*crypto.BindAuthKeyInner, *tg.AuthBindTempAuthKeyRequest, *int64) {}
	r.result(bind(r, right), &tg.BoolTrue{})
	r.result(r.call(initial(&tg.UpdatesGetStateRequest{})), &tg.UpdatesState{})

	// What a temporary key does is its permanent key's doing.
	r.result(r.call(&tg.AuthLogOutRequest{}), &tg.AuthLoggedOut{})
	p := rawConnect(t, srv, annSess)
	p.fails(p.call(&tg.UpdatesGetStateRequest{}), 401, "AUTH_KEY_UNREGISTERED")
	p.fails(bind(p, right), 400, "TEMP_AUTH_KEY_EMPTY")

	srv.ExpireTempKeys(0)
	r.refusedAt(t, 404)
}
