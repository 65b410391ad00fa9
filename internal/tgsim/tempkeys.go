package tgsim

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/gotd/ige"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/tg"
)

// owner is the key that a login belongs to: for a temporary key the permanent
// one it is bound to, see core.telegram.org/api/pfs.
func (k *authKey) owner() *authKey {
	if perm := k.perm.Load(); perm != nil {
		return perm
	}
	return k
}

func (k *authKey) expired(now time.Time) bool {
	return !k.expires.IsZero() && !k.expires.After(now)
}

// unbound tells a temporary key that stands for nobody yet.
func (k *authKey) unbound() bool { return !k.expires.IsZero() && k.perm.Load() == nil }

// admit decides whether a call may run. auth.bindTempAuthKey comes before
// everything else, initConnection too.
func (c *call) admit() (user int64, layer int, refused *rpcError) {
	k := c.sess.key
	owner := k.owner()
	owner.mu.Lock()
	user, banned := owner.user, owner.refusal
	owner.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case c.method == tg.AuthBindTempAuthKeyRequestTypeID:
	case k.unbound():
		refused = &rpcError{401, "AUTH_KEY_PERM_EMPTY"}
	case banned != nil:
		refused = banned
	case k.refusal != nil:
		refused = k.refusal
	case !k.inited:
		refused = &rpcError{400, "CONNECTION_NOT_INITED"}
	case needsUser(c.method) && user == 0:
		refused = errUnauthorized
	}
	return user, k.layer, refused
}

var errEncrypted = &rpcError{400, "ENCRYPTED_MESSAGE_INVALID"}

// bindTempAuthKey: core.telegram.org/method/auth.bindTempAuthKey.
func (s *Server) bindTempAuthKey(c *call) (bin.Encoder, *rpcError) {
	var req tg.AuthBindTempAuthKeyRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	k := c.sess.key
	if k.expires.IsZero() {
		return nil, &rpcError{400, "TEMP_AUTH_KEY_EMPTY"}
	}
	if !time.Unix(int64(req.ExpiresAt), 0).After(time.Now()) {
		return nil, &rpcError{400, "EXPIRES_AT_INVALID"}
	}
	var id [8]byte
	binary.LittleEndian.PutUint64(id[:], uint64(req.PermAuthKeyID))
	perm := s.findKey(id)
	if perm == nil || !perm.expires.IsZero() {
		return nil, errEncrypted
	}
	inner, err := openBinding(perm.key, req.EncryptedMessage, c.msg.id)
	if err != nil {
		c.c.log.Info("binding refused", "error", err)
		return nil, errEncrypted
	}
	want := crypto.BindAuthKeyInner{
		Nonce:         req.Nonce,
		TempAuthKeyID: k.key.IntID(),
		PermAuthKeyID: req.PermAuthKeyID,
		TempSessionID: c.sess.id,
		ExpiresAt:     req.ExpiresAt,
	}
	if *inner != want {
		return nil, errEncrypted
	}
	if !k.perm.CompareAndSwap(nil, perm) && k.perm.Load() != perm {
		return nil, &rpcError{400, "TEMP_AUTH_KEY_ALREADY_BOUND"}
	}
	c.sess.mu.Lock()
	online := c.sess.updates && c.sess.conn != nil
	c.sess.mu.Unlock()
	if online { // it subscribed as nobody
		s.goOnline(c.sess)
	}
	return &tg.BoolTrue{}, nil
}

// openBinding decrypts the binding message with the permanent key, by the rules
// of MTProto 1.0: perm_auth_key_id, msg_key, then AES-IGE of random:int128
// msg_id:long seq_no:int msg_len:int message and padding, where msg_key is the
// SHA1 of all but the padding. See core.telegram.org/api/pfs.
func openBinding(perm crypto.AuthKey, b []byte, msgID int64) (*crypto.BindAuthKeyInner, error) {
	const (
		head     = 8 + 16
		envelope = 16 + 8 + 4 + 4
	)
	if len(b) < head+envelope || (len(b)-head)%aes.BlockSize != 0 {
		return nil, errors.New("its length is wrong")
	}
	if [8]byte(b[:8]) != perm.ID {
		return nil, errors.New("it names another key")
	}
	msgKey := bin.Int128(b[8:head])
	key, iv := crypto.KeysV1(perm.Value, msgKey)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(b)-head)
	ige.DecryptBlocks(block, iv[:], plain, b[head:])
	n := int64(int32(binary.LittleEndian.Uint32(plain[28:])))
	if n < 0 || n > int64(len(plain)-envelope) || crypto.MessageKeyV1(plain[:envelope+n]) != msgKey {
		return nil, errors.New("msg_key does not fit")
	}
	if int64(binary.LittleEndian.Uint64(plain[16:])) != msgID {
		return nil, errors.New("msg_id is not that of the call")
	}
	if binary.LittleEndian.Uint32(plain[24:]) != 0 {
		return nil, errors.New("seq_no is not 0")
	}
	var inner crypto.BindAuthKeyInner
	if err := inner.Decode(&bin.Buffer{Buf: plain[envelope : envelope+n]}); err != nil {
		return nil, err
	}
	return &inner, nil
}

// ExpireTempKeys ends the temporary keys bound to a user's keys before their
// time (0 = all of them): their frames get transport error -404. It returns how
// many there were.
func (s *Server) ExpireTempKeys(userID int64) int {
	n := 0
	for _, k := range s.keysOf(userID) {
		if k.expires.IsZero() {
			continue
		}
		s.mu.Lock()
		delete(s.keys, k.key.ID)
		s.mu.Unlock()
		n++
	}
	return n
}
