package tgsim_test

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"math/big"
	"testing"

	"github.com/gotd/ige"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// oldExchange is the client's side of a key exchange step by step, with what a
// test wants wrong.
type oldExchange struct {
	multi bool                             // req_pq_multi instead of req_pq
	again bool                             // ask for pq twice
	pad   bool                             // RSA_PAD instead of the scheme before it
	inner func(*mt.PQInnerData) bin.Object // changes p_q_inner_data
	dh    func(*mt.ReqDHParamsRequest)     // changes req_DH_params
	set   func(*mt.ClientDHInnerData)      // changes client_DH_inner_data
}

func (r *rawClient) plain(v bin.Encoder) {
	r.t.Helper()
	r.bytes(encode(r.t, proto.UnencryptedMessage{MessageID: r.newID(), MessageData: encode(r.t, v)}))
}

// answer reads a plain message; false when a transport error came instead.
func (r *rawClient) answer(v bin.Decoder, code int32) bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var b bin.Buffer
	err := r.conn.Recv(ctx, &b)
	if err != nil {
		if !transportError(err, code) {
			r.t.Fatalf("waiting for %T: %v, want transport error %d", v, err, code)
		}
		return false
	}
	var msg proto.UnencryptedMessage
	if err := msg.Decode(&b); err != nil {
		r.t.Fatal(err)
	}
	if err := v.Decode(&bin.Buffer{Buf: msg.MessageData}); err != nil {
		r.t.Fatalf("want %T: %v", v, err)
	}
	return true
}

// exchange runs to the end, or to the refusal with code.
func (r *rawClient) exchange(srv *tgsim.Server, x oldExchange, code int32) bool {
	r.t.Helper()
	var nonce bin.Int128
	_, _ = rand.Read(nonce[:])
	var pq mt.ResPQ
	for range map[bool]int{false: 1, true: 2}[x.again] {
		if x.multi {
			r.plain(&mt.ReqPqMultiRequest{Nonce: nonce})
		} else {
			r.plain(&mt.ReqPqRequest{Nonce: nonce})
		}
		if !r.answer(&pq, code) {
			return false
		}
	}
	p, q, err := crypto.DecomposePQ(new(big.Int).SetBytes(pq.Pq), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	inner := &mt.PQInnerData{Pq: pq.Pq, P: p.Bytes(), Q: q.Bytes(), Nonce: nonce, ServerNonce: pq.ServerNonce}
	_, _ = rand.Read(inner.NewNonce[:])
	data := encode(r.t, inner)
	if x.inner != nil {
		data = encode(r.t, x.inner(inner))
	}
	encrypt := crypto.RSAEncryptHashed
	if x.pad {
		encrypt = crypto.RSAPad
	}
	sealed, err := encrypt(data, srv.PublicKey(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	req := &mt.ReqDHParamsRequest{
		Nonce: nonce, ServerNonce: pq.ServerNonce, P: p.Bytes(), Q: q.Bytes(),
		PublicKeyFingerprint: crypto.RSAFingerprint(srv.PublicKey()), EncryptedData: sealed,
	}
	if x.dh != nil {
		x.dh(req)
	}
	r.plain(req)
	var params mt.ServerDHParamsOk
	if !r.answer(&params, code) {
		return false
	}
	key, iv := crypto.TempAESKeys(inner.NewNonce.BigInt(), pq.ServerNonce.BigInt())
	block, err := aes.NewCipher(key)
	if err != nil {
		r.t.Fatal(err)
	}
	open := make([]byte, len(params.EncryptedAnswer))
	ige.DecryptBlocks(block, iv, open, params.EncryptedAnswer)
	var dh mt.ServerDHInnerData
	if err := dh.Decode(&bin.Buffer{Buf: crypto.GuessDataWithHash(open)}); err != nil {
		r.t.Fatal(err)
	}
	prime := new(big.Int).SetBytes(dh.DhPrime)
	if err := crypto.CheckDH(dh.G, prime); err != nil {
		r.t.Error(err)
	}
	secret, _ := rand.Int(rand.Reader, prime)
	client := &mt.ClientDHInnerData{
		Nonce: nonce, ServerNonce: pq.ServerNonce,
		GB: new(big.Int).Exp(big.NewInt(int64(dh.G)), secret, prime).Bytes(),
	}
	if x.set != nil {
		x.set(client)
	}
	if sealed, err = crypto.EncryptExchangeAnswer(rand.Reader, encode(r.t, client), key, iv); err != nil {
		r.t.Fatal(err)
	}
	r.plain(&mt.SetClientDHParamsRequest{Nonce: nonce, ServerNonce: pq.ServerNonce, EncryptedData: sealed})
	var done mt.DhGenOk
	if !r.answer(&done, code) {
		return false
	}
	var made crypto.Key
	new(big.Int).Exp(new(big.Int).SetBytes(dh.GA), secret, prime).FillBytes(made[:])
	if done.NewNonceHash1 != crypto.NonceHash1(inner.NewNonce, made) {
		r.t.Error("new_nonce_hash1 does not fit")
	}
	r.key, r.salt = made.WithID(), crypto.ServerSalt(inner.NewNonce, pq.ServerNonce)
	return true
}

func TestKeyExchangeForms(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	dc := func(n int) func(*mt.PQInnerData) bin.Object {
		return func(d *mt.PQInnerData) bin.Object {
			return &mt.PQInnerDataDC{Pq: d.Pq, P: d.P, Q: d.Q, Nonce: d.Nonce, ServerNonce: d.ServerNonce, NewNonce: d.NewNonce, DC: n}
		}
	}
	for name, x := range map[string]oldExchange{
		"first scheme, no dc":   {},
		"first scheme, dc":      {multi: true, inner: dc(2)},
		"first scheme, test dc": {inner: dc(10_002)},
		"media dc":              {inner: dc(-2)},
		"RSA_PAD, no dc":        {pad: true},
		"req_pq twice":          {again: true, multi: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rawDial(t, srv, tgsim.Session{}, transport.Intermediate)
			if !r.exchange(srv, x, 0) {
				t.Fatal("refused")
			}
			id := r.call(initial(&tg.HelpGetConfigRequest{}))
			r.take(&mt.NewSessionCreated{})
			r.result(id, &tg.Config{})
		})
	}
}

func TestKeyExchangeRefused(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	wrong := func(f func(*mt.PQInnerData)) func(*mt.PQInnerData) bin.Object {
		return func(d *mt.PQInnerData) bin.Object {
			bad := *d
			f(&bad)
			return &bad
		}
	}
	for name, tt := range map[string]struct {
		x    oldExchange
		code int32
	}{
		"another dc": {oldExchange{inner: func(d *mt.PQInnerData) bin.Object {
			return &mt.PQInnerDataDC{Pq: d.Pq, P: d.P, Q: d.Q, Nonce: d.Nonce, ServerNonce: d.ServerNonce, NewNonce: d.NewNonce, DC: 3}
		}}, 444},
		"temporary for no time": {oldExchange{inner: func(d *mt.PQInnerData) bin.Object {
			return &mt.PQInnerDataTempDC{Pq: d.Pq, P: d.P, Q: d.Q, Nonce: d.Nonce, ServerNonce: d.ServerNonce, NewNonce: d.NewNonce, DC: 2}
		}}, 404},
		"nonce":               {oldExchange{dh: func(r *mt.ReqDHParamsRequest) { r.Nonce[0]++ }}, 404},
		"server_nonce":        {oldExchange{dh: func(r *mt.ReqDHParamsRequest) { r.ServerNonce[0]++ }}, 404},
		"p and q swapped":     {oldExchange{dh: func(r *mt.ReqDHParamsRequest) { r.P, r.Q = r.Q, r.P }}, 404},
		"fingerprint":         {oldExchange{dh: func(r *mt.ReqDHParamsRequest) { r.PublicKeyFingerprint++ }}, 404},
		"encrypted_data":      {oldExchange{dh: func(r *mt.ReqDHParamsRequest) { r.EncryptedData[100]++ }}, 404},
		"empty data":          {oldExchange{dh: func(r *mt.ReqDHParamsRequest) { r.EncryptedData = nil }}, 404},
		"inner nonce":         {oldExchange{inner: wrong(func(d *mt.PQInnerData) { d.Nonce[0]++ })}, 404},
		"inner pq":            {oldExchange{inner: wrong(func(d *mt.PQInnerData) { d.Pq = []byte{1} })}, 404},
		"g_b is 1":            {oldExchange{set: func(d *mt.ClientDHInnerData) { d.GB = []byte{1} }}, 404},
		"retry_id":            {oldExchange{set: func(d *mt.ClientDHInnerData) { d.RetryID = 1 }}, 404},
		"client server_nonce": {oldExchange{set: func(d *mt.ClientDHInnerData) { d.ServerNonce[0]++ }}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rawDial(t, srv, tgsim.Session{}, transport.Intermediate)
			if r.exchange(srv, tt.x, tt.code) {
				t.Error("a key was made")
			}
			r.closed()
		})
	}
	t.Run("no message of an exchange", func(t *testing.T) {
		t.Parallel()
		r := rawDial(t, srv, tgsim.Session{}, transport.Intermediate)
		r.plain(&mt.PingRequest{PingID: 1})
		r.answer(&mt.Pong{}, 404)
		r.closed()
	})
}
