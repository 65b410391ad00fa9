package accounts

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// KeyIDs names keys of a keyset: the first one seals, all of them open. They are no
// secret: whatever is sealed begins with the id of its key.
type KeyIDs []uint32

// ParseKeyIDs reads what Text writes.
func ParseKeyIDs(text string) (KeyIDs, error) {
	var ids KeyIDs
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			return nil, nil
		}
		id, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no list of ids of keys", text)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

// Text is the ids with commas between.
func (ids KeyIDs) Text() string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(parts, ",")
}

// String is for people.
func (ids KeyIDs) String() string {
	if len(ids) == 0 {
		return "no key"
	}
	seals, opens, more := strings.Cut(ids.Text(), ",")
	seals += " (which seals)"
	if more {
		seals += ", " + strings.ReplaceAll(opens, ",", ", ")
	}
	return seals
}

// Has tells whether a key is among them.
func (ids KeyIDs) Has(id uint32) bool { return slices.Contains(ids, id) }

// SealedKind is what is sealed: a column of the store.
type SealedKind string

// All that is sealed: Reseal and CheckKey cover what is in SealedKinds.
const (
	SealedSession  SealedKind = "session"
	SealedSettings SealedKind = "settings" // a proxy's password, an application's hash
)

// SealedKinds lists the kinds, each with the associated data of an account's.
var SealedKinds = []SealedKind{SealedSession, SealedSettings}

func (kind SealedKind) bound(id ID) []byte {
	if kind == SealedSettings {
		return boundSettings(id)
	}
	return bound(id)
}

// Sealed is what is sealed of one account.
type Sealed struct {
	Account ID
	Sealed  []byte
}

// Resealed replaces what was sealed before.
type Resealed struct {
	Account ID
	Was, Is []byte
}

// SealedCount is how much of a kind is sealed with one key.
type SealedCount struct {
	Kind  SealedKind
	Head  []byte // what it begins with: see headOf
	N     int
	First Sealed // by the account's name
}

// SealedHead is how many bytes tell with which key something is sealed.
const SealedHead = 5

// headOf is how whatever a key has sealed begins.
// Source: developers.google.com/tink/wire-format, Tink output prefix.
func headOf(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{1}, id) }

// KeyID is the key's; false if Tink has not sealed it.
func (c SealedCount) KeyID() (uint32, bool) {
	if len(c.Head) != SealedHead || c.Head[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(c.Head[1:]), true
}

// SealedStore keeps what is sealed, and knows which keys workers have. Package db
// implements it.
type SealedStore interface {
	// CountSealed counts by kind and by what it begins with.
	CountSealed(ctx context.Context) ([]SealedCount, error)
	// Sealed lists what is sealed of a kind by account, at most limit of those after the
	// given name, less what begins with not.
	Sealed(ctx context.Context, kind SealedKind, not []byte, after ID, limit int) ([]Sealed, error)
	// Reseal replaces what still is as it was, in one transaction, and tells how many were.
	// Nobody else notices: the account is not updated, its lease does not matter.
	Reseal(ctx context.Context, kind SealedKind, rs []Resealed) (int, error)
	// ToldRotated writes down that keys were rotated: an event of no account.
	ToldRotated(ctx context.Context, reason string) error
	// WorkerKeys is which keys live workers have; none are known of those of versions
	// that did not tell.
	WorkerKeys(ctx context.Context) (map[string]KeyIDs, error)
}

// WrongKeyError: something is sealed with a key that the keyset lacks, or that is
// another one of the same id. It is an ErrWrongKey.
type WrongKeyError struct {
	Kind    SealedKind
	Account ID // the first of N
	N       int
	Sealed  string // with which key
	Has     KeyIDs
}

func (e *WrongKeyError) Error() string {
	return fmt.Sprintf("the %s of account %s was sealed with another key: %s, as %d in all; the keyset at hand has %s", e.Kind, e.Account, e.Sealed, e.N, e.Has)
}

// Is makes it an ErrWrongKey.
func (e *WrongKeyError) Is(err error) bool { return err == ErrWrongKey }

// CheckKey makes sure that the keyset opens whatever is stored, so that a worker with the
// wrong key stops at once and not at the first job, and nobody seals with a key that
// others lack. It looks at the key of all that is sealed, and opens one of each key's.
// Nothing stored is no error.
//
// Live workers have to have the key that this keyset seals with, and this keyset the one
// that they seal with: otherwise the error is a *KeysDifferError.
func (r *Registry) CheckKey(ctx context.Context) error {
	counts, err := r.store.CountSealed(ctx)
	if err != nil {
		return err
	}
	for _, c := range counts {
		if err := r.keys.opens(c); err != nil {
			return err
		}
	}
	theirs, err := r.store.WorkerKeys(ctx)
	if err != nil {
		return err
	}
	return r.keys.agrees(theirs)
}

func (k Keyset) opens(c SealedCount) error {
	bad := &WrongKeyError{Kind: c.Kind, Account: c.First.Account, N: c.N, Sealed: "it is damaged, or Switchboard has not sealed it", Has: k.ids}
	if id, ok := c.KeyID(); ok {
		bad.Sealed = fmt.Sprintf("key %d", id)
	}
	plain, err := k.aead.Decrypt(c.First.Sealed, c.Kind.bound(c.First.Account))
	clear(plain)
	if err != nil {
		return bad
	}
	return nil
}

// KeysDifferError: one of two keysets that are in use lacks the key that the other seals
// with.
type KeysDifferError struct {
	Worker string // that has the other one
	Theirs KeyIDs
	Ours   KeyIDs
}

func (e *KeysDifferError) Error() string {
	lacks, other := "worker "+e.Worker, e.Ours[0]
	if e.Theirs.Has(e.Ours[0]) {
		lacks, other = "this keyset", e.Theirs[0]
	}
	return fmt.Sprintf("%s could not open what is sealed with key %d: worker %s has %s, and this keyset %s; add a key everywhere before it seals anywhere (docs/operations.md, Keys)",
		lacks, other, e.Worker, e.Theirs, e.Ours)
}

func (k Keyset) agrees(theirs map[string]KeyIDs) error {
	for _, worker := range slices.Sorted(maps.Keys(theirs)) {
		ids := theirs[worker]
		if len(ids) > 0 && !(ids.Has(k.ids[0]) && k.ids.Has(ids[0])) {
			return &KeysDifferError{Worker: incarnated(worker), Theirs: ids, Ours: k.ids}
		}
	}
	return nil
}

// incarnated is the name of a worker without its incarnation.
func incarnated(worker string) string {
	if at := strings.LastIndexByte(worker, '#'); at >= 0 {
		return worker[:at]
	}
	return worker
}
