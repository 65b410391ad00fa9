package tgsim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/proto/codec"
)

// handshake is the server's side of core.telegram.org/mtproto/auth_key. It is
// not gotd's (exchange.ServerExchange): that one knows RSA_PAD alone, checks
// few of the numbers, and hides the lifetime of a temporary key.
type handshake struct {
	conn  *exchangeConn
	key   *rsa.PrivateKey
	print int64 // fingerprint of key
	dc    int

	nonce, serverNonce bin.Int128
	newNonce           bin.Int256
	pq, p, q           *big.Int
}

// agreed is the key that both sides have.
type agreed struct {
	key      crypto.AuthKey
	salt     int64
	lifetime time.Duration // 0 for a permanent key
}

// handshakeError is answered with a transport error.
type handshakeError struct {
	code int32
	err  error
}

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// broken is what a client gets that does not keep to the protocol.
func broken(format string, args ...any) error {
	return &handshakeError{codec.CodeAuthKeyNotFound, fmt.Errorf(format, args...)}
}

func (h *handshake) run(ctx context.Context) (agreed, error) {
	if err := h.choosePQ(); err != nil {
		return agreed{}, err
	}
	req, err := h.requestDH(ctx)
	if err != nil {
		return agreed{}, err
	}
	lifetime, err := h.openInner(req)
	if err != nil {
		return agreed{}, err
	}
	key, err := h.exchangeDH(ctx)
	if err != nil {
		return agreed{}, err
	}
	return agreed{key.WithID(), crypto.ServerSalt(h.newNonce, h.serverNonce), lifetime}, nil
}

// choosePQ takes two primes of 31 bits: their product has 62, as Telegram's.
func (h *handshake) choosePQ() (err error) {
	copy(h.serverNonce[:], randomBytes(len(h.serverNonce)))
	for h.p == nil || h.p.Cmp(h.q) == 0 {
		if h.p, err = rand.Prime(rand.Reader, 31); err != nil {
			return fmt.Errorf("choose p: %w", err)
		}
		if h.q, err = rand.Prime(rand.Reader, 31); err != nil {
			return fmt.Errorf("choose q: %w", err)
		}
	}
	if h.p.Cmp(h.q) > 0 {
		h.p, h.q = h.q, h.p
	}
	h.pq = new(big.Int).Mul(h.p, h.q)
	return nil
}

// requestDH answers req_pq, the old form and the new, until req_DH_params
// comes: clients may begin more than once.
func (h *handshake) requestDH(ctx context.Context) (*mt.ReqDHParamsRequest, error) {
	for {
		b, err := h.receive(ctx)
		if err != nil {
			return nil, err
		}
		id, err := b.PeekID()
		if err != nil {
			return nil, broken("a message without a constructor")
		}
		switch id {
		case mt.ReqPqRequestTypeID:
			var req mt.ReqPqRequest
			err = req.Decode(b)
			h.nonce = req.Nonce
		case mt.ReqPqMultiRequestTypeID:
			var req mt.ReqPqMultiRequest
			err = req.Decode(b)
			h.nonce = req.Nonce
		case mt.ReqDHParamsRequestTypeID:
			req := &mt.ReqDHParamsRequest{}
			if err := req.Decode(b); err != nil {
				return nil, broken("req_DH_params: %w", err)
			}
			return req, h.checkDH(req)
		default:
			return nil, broken("%#x is no message of a key exchange", id)
		}
		if err != nil {
			return nil, broken("req_pq: %w", err)
		}
		err = h.send(ctx, &mt.ResPQ{
			Nonce: h.nonce, ServerNonce: h.serverNonce, Pq: h.pq.Bytes(),
			ServerPublicKeyFingerprints: []int64{h.print},
		})
		if err != nil {
			return nil, err
		}
	}
}

func (h *handshake) checkDH(req *mt.ReqDHParamsRequest) error {
	switch {
	case req.Nonce != h.nonce || req.ServerNonce != h.serverNonce:
		return broken("req_DH_params: wrong nonce or server_nonce")
	case !bytes.Equal(req.P, h.p.Bytes()) || !bytes.Equal(req.Q, h.q.Bytes()):
		return broken("req_DH_params: p and q are not the primes of pq, p < q")
	case req.PublicKeyFingerprint != h.print:
		return broken("req_DH_params: unknown public key")
	}
	return nil
}

// openInner decrypts p_q_inner_data. There are two schemes: RSA_PAD, and
// SHA1(data) + data + padding of 255 bytes, which older clients use (Telethon
// 1.25) and Telegram still takes. Both carry a hash, so the right one shows.
// The data come as p_q_inner_data (without dc, old), _dc or _temp_dc.
func (h *handshake) openInner(req *mt.ReqDHParamsRequest) (lifetime time.Duration, err error) {
	plain, err := crypto.DecodeRSAPad(req.EncryptedData, h.key)
	if err != nil {
		plain, err = crypto.RSADecryptHashed(req.EncryptedData, h.key)
	}
	if err != nil {
		return 0, broken("p_q_inner_data: neither RSA_PAD nor the scheme before it: %w", err)
	}
	inner, err := mt.DecodePQInnerData(&bin.Buffer{Buf: plain})
	if err != nil {
		return 0, broken("p_q_inner_data: %w", err)
	}
	switch {
	case inner.GetNonce() != h.nonce || inner.GetServerNonce() != h.serverNonce:
		return 0, broken("p_q_inner_data: wrong nonce or server_nonce")
	case !bytes.Equal(inner.GetPq(), h.pq.Bytes()), !bytes.Equal(inner.GetP(), h.p.Bytes()), !bytes.Equal(inner.GetQ(), h.q.Bytes()):
		return 0, broken("p_q_inner_data: wrong pq, p or q")
	}
	h.newNonce = inner.GetNewNonce()
	dc := h.dc
	switch v := inner.(type) {
	case *mt.PQInnerDataDC:
		dc = v.DC
	case *mt.PQInnerDataTempDC:
		dc = v.DC
		if v.ExpiresIn <= 0 {
			return 0, broken("p_q_inner_data_temp_dc: expires_in is %d", v.ExpiresIn)
		}
		lifetime = time.Duration(v.ExpiresIn) * time.Second
	}
	// Test servers are 10000 + n, media-only connections negative.
	if max(dc, -dc)%10_000 != h.dc {
		return 0, &handshakeError{codec.CodeWrongDC, fmt.Errorf("p_q_inner_data: data centre %d, this is %d", dc, h.dc)}
	}
	return lifetime, nil
}

// exchangeDH makes the key. dh_gen_retry and dh_gen_fail are never needed.
func (h *handshake) exchangeDH(ctx context.Context) (crypto.Key, error) {
	a := new(big.Int).SetBytes(randomBytes(groupSize))
	g := big.NewInt(groupG)
	ga := new(big.Int).Exp(g, a, groupP)
	var b bin.Buffer
	err := (&mt.ServerDHInnerData{
		Nonce: h.nonce, ServerNonce: h.serverNonce, G: groupG,
		GA: padded(ga), DhPrime: padded(groupP), ServerTime: int(time.Now().Unix()),
	}).Encode(&b)
	if err != nil {
		return crypto.Key{}, err
	}
	key, iv := crypto.TempAESKeys(h.newNonce.BigInt(), h.serverNonce.BigInt())
	sealed, err := crypto.EncryptExchangeAnswer(rand.Reader, b.Buf, key, iv)
	if err != nil {
		return crypto.Key{}, err
	}
	err = h.send(ctx, &mt.ServerDHParamsOk{Nonce: h.nonce, ServerNonce: h.serverNonce, EncryptedAnswer: sealed})
	if err != nil {
		return crypto.Key{}, err
	}

	in, err := h.receive(ctx)
	if err != nil {
		return crypto.Key{}, err
	}
	var set mt.SetClientDHParamsRequest
	if err := set.Decode(in); err != nil {
		return crypto.Key{}, broken("set_client_DH_params: %w", err)
	}
	plain, err := crypto.DecryptExchangeAnswer(set.EncryptedData, key, iv)
	if err != nil {
		return crypto.Key{}, broken("set_client_DH_params: %w", err)
	}
	var inner mt.ClientDHInnerData
	if err := inner.Decode(&bin.Buffer{Buf: plain}); err != nil {
		return crypto.Key{}, broken("client_DH_inner_data: %w", err)
	}
	gb := new(big.Int).SetBytes(inner.GB)
	switch {
	case set.Nonce != h.nonce || set.ServerNonce != h.serverNonce,
		inner.Nonce != h.nonce || inner.ServerNonce != h.serverNonce:
		return crypto.Key{}, broken("set_client_DH_params: wrong nonce or server_nonce")
	case inner.RetryID != 0:
		return crypto.Key{}, broken("client_DH_inner_data: retry_id is %d in the first attempt", inner.RetryID)
	}
	if err := crypto.CheckDHParams(groupP, g, ga, gb); err != nil {
		return crypto.Key{}, broken("client_DH_inner_data: %w", err)
	}
	var made crypto.Key
	new(big.Int).Exp(gb, a, groupP).FillBytes(made[:])
	return made, h.send(ctx, &mt.DhGenOk{
		Nonce: h.nonce, ServerNonce: h.serverNonce, NewNonceHash1: crypto.NonceHash1(h.newNonce, made),
	})
}

// receive returns the next plain message.
func (h *handshake) receive(ctx context.Context) (*bin.Buffer, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	b := &bin.Buffer{}
	if err := h.conn.Recv(ctx, b); err != nil {
		return nil, err
	}
	var msg proto.UnencryptedMessage
	if err := msg.Decode(b); err != nil {
		return nil, broken("plain message: %w", err)
	}
	if msg.MessageID&3 != 0 {
		return nil, errors.New("plain message: msg_id is not divisible by 4")
	}
	return &bin.Buffer{Buf: msg.MessageData}, nil
}

func (h *handshake) send(ctx context.Context, v bin.Encoder) error {
	var body, b bin.Buffer
	if err := v.Encode(&body); err != nil {
		return err
	}
	msg := proto.UnencryptedMessage{
		MessageID:   int64(proto.NewMessageID(time.Now(), proto.MessageServerResponse)),
		MessageData: body.Buf,
	}
	if err := msg.Encode(&b); err != nil {
		return err
	}
	return h.conn.Send(ctx, &b)
}
