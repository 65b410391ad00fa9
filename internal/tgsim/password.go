package tgsim

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"math/big"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// The group of the key exchange and of passwords: the prime Telegram itself has
// used for years, and a generator that fits it. See
// core.telegram.org/mtproto/auth_key and core.telegram.org/api/srp.
const groupG = 3

var groupP = func() *big.Int {
	p, _ := new(big.Int).SetString(""+
		"C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F"+
		"48198A0AA7C14058229493D22530F4DBFA336F6E0AC925139543AED44CCE7C37"+
		"20FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F64"+
		"2477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A9060BEE67CF9A4"+
		"A4A695811051907E162753B56B0F6B410DBA74D8A84B2A14B3144E0EF1284754"+
		"FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6FF9CA3928FEF5B9AE4"+
		"E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F"+
		"0D8115F635B105EE2E4E15D04B2454BF6F4FADF034B10403119CD8E3B92FCC5B", 16)
	return p
}()

// groupSize is the length of the group's numbers on the wire.
const groupSize = 256

// password is the 2FA password of an account as Telegram keeps it: v, never
// the text.
type password struct {
	hint         string
	salt1, salt2 []byte
	v            *big.Int
}

// srpRound is one question by account.getPassword.
type srpRound struct {
	id   int64
	user int64
	b    *big.Int
	gb   []byte
}

// SetPassword gives a user a 2FA password; an empty one takes it away. Keys
// that are authorized stay so.
func (s *Server) SetPassword(userID int64, text, hint string) error {
	u, ok := s.world.user(userID)
	if !ok {
		return fmt.Errorf("tgsim: no user %d", userID)
	}
	if u.Bot {
		return fmt.Errorf("tgsim: user %d is a bot, which has no password", userID)
	}
	var p *password
	if text != "" {
		p = &password{hint: hint, salt1: randomBytes(40), salt2: randomBytes(16)}
		x, err := srpX(text, p.salt1, p.salt2)
		if err != nil {
			return fmt.Errorf("tgsim: password of user %d: %w", userID, err)
		}
		p.v = new(big.Int).Exp(big.NewInt(groupG), x, groupP)
	}
	l := s.world.logins
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		delete(l.passwords, userID)
		return nil
	}
	l.passwords[userID] = p
	return nil
}

// srpX is PH2 of core.telegram.org/api/srp.
func srpX(text string, salt1, salt2 []byte) (*big.Int, error) {
	sh := func(data, salt []byte) []byte { return sum256(salt, data, salt) }
	ph1 := sh(sh([]byte(text), salt1), salt2)
	ph, err := pbkdf2.Key(sha512.New, string(ph1), salt1, 100_000, 64)
	if err != nil {
		return nil, err
	}
	return new(big.Int).SetBytes(sh(ph, salt2)), nil
}

func sum256(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func padded(v *big.Int) []byte { return v.FillBytes(make([]byte, groupSize)) }

// srpK is the multiplier k = H(p | g).
func srpK() *big.Int {
	return new(big.Int).SetBytes(sum256(padded(groupP), padded(big.NewInt(groupG))))
}

// newRound makes the server's half of a check: g_b = k*v + g^b.
func newRound(user int64, p *password) *srpRound {
	limit := new(big.Int).Lsh(big.NewInt(1), 8*groupSize)
	b, _ := rand.Int(rand.Reader, limit) // never fails, see crypto/rand
	gb := new(big.Int).Exp(big.NewInt(groupG), b, groupP)
	gb.Add(gb, new(big.Int).Mul(srpK(), p.v)).Mod(gb, groupP)
	return &srpRound{id: randomLong(), user: user, b: b, gb: padded(gb)}
}

// proof is M1 as a client that knows the password computes it from g_a.
func (r *srpRound) proof(p *password, ga []byte) []byte {
	u := new(big.Int).SetBytes(sum256(ga, r.gb))
	s := new(big.Int).Exp(p.v, u, groupP)
	s.Mul(s, new(big.Int).SetBytes(ga)).Exp(s, r.b, groupP)
	mix := sum256(padded(groupP))
	subtle.XORBytes(mix, mix, sum256(padded(big.NewInt(groupG))))
	return sum256(mix, sum256(p.salt1), sum256(p.salt2), ga, r.gb, sum256(padded(s)))
}

// getPassword: core.telegram.org/method/account.getPassword. A key may ask for
// its own user, or for the one it is about to become.
func (s *Server) getPassword(c *call, user int64) (bin.Encoder, *rpcError) {
	if err := decode(c, &tg.AccountGetPasswordRequest{}); err != nil {
		return nil, err
	}
	k := c.sess.key.owner()
	k.mu.Lock()
	if k.login.waiting != 0 {
		user = k.login.waiting
	}
	k.mu.Unlock()
	if user == 0 {
		return nil, errUnauthorized
	}
	l := s.world.logins
	l.mu.Lock()
	p := l.passwords[user]
	l.mu.Unlock()

	out := &tg.AccountPassword{
		NewAlgo: &tg.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow{
			Salt1: randomBytes(8), Salt2: randomBytes(16), G: groupG, P: padded(groupP),
		},
		NewSecureAlgo: &tg.SecurePasswordKdfAlgoPBKDF2HMACSHA512iter100000{Salt: randomBytes(8)},
		SecureRandom:  randomBytes(groupSize),
	}
	if p == nil {
		return out, nil
	}
	r := newRound(user, p)
	k.mu.Lock()
	k.login.srp = r
	k.mu.Unlock()
	out.HasPassword = true
	out.CurrentAlgo = &tg.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow{
		Salt1: p.salt1, Salt2: p.salt2, G: groupG, P: padded(groupP),
	}
	out.SRPB, out.SRPID, out.Hint = r.gb, r.id, p.hint
	return out, nil
}

// checkPassword: core.telegram.org/method/auth.checkPassword.
func (s *Server) checkPassword(c *call, loggedIn int64) (bin.Encoder, *rpcError) {
	var req tg.AuthCheckPasswordRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	k := c.sess.key.owner()
	k.mu.Lock()
	user, r := k.login.waiting, k.login.srp
	k.mu.Unlock()
	switch {
	case user == 0 && loggedIn == 0:
		return nil, errUnauthorized
	case user == 0: // no login waits for a password
		return nil, &rpcError{400, "PASSWORD_HASH_INVALID"}
	}
	l := s.world.logins
	l.mu.Lock()
	p := l.passwords[user]
	l.mu.Unlock()
	if p == nil { // taken away since
		return s.authorized(k, user), nil
	}
	wrong := &rpcError{400, "PASSWORD_HASH_INVALID"}
	in, ok := req.Password.(*tg.InputCheckPasswordSRP)
	if !ok {
		return nil, wrong
	}
	if r == nil || r.user != user || in.SRPID != r.id {
		return nil, &rpcError{400, "SRP_ID_INVALID"}
	}
	if !inGroup(in.A) || subtle.ConstantTimeCompare(in.M1, r.proof(p, in.A)) != 1 {
		return nil, wrong
	}
	return s.authorized(k, user), nil
}

// inGroup demands 1 < g_a < p-1 as 256 bytes: with 0 or p anybody could log in.
func inGroup(ga []byte) bool {
	v := new(big.Int).SetBytes(ga)
	last := new(big.Int).Sub(groupP, big.NewInt(1))
	return len(ga) == groupSize && v.Cmp(big.NewInt(1)) > 0 && v.Cmp(last) < 0
}
