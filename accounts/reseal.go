package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ResealConfig tunes Reseal. The zero value is usable.
type ResealConfig struct {
	Batch int // replaced by one transaction; default 500
	// Progress is told how much is sealed with the keyset's first key, of how much.
	Progress func(done, total int)
	// Lagging lets workers seal with other keys meanwhile: what they seal stays as it is.
	Lagging bool
}

func (c ResealConfig) withDefaults() ResealConfig {
	if c.Batch == 0 {
		c.Batch = 500
	}
	if c.Progress == nil {
		c.Progress = func(int, int) {}
	}
	return c
}

// Unopened is what Reseal left as it was, because it does not open.
type Unopened struct {
	Kind    SealedKind
	Account ID
}

// ResealReport is what Reseal has done.
type ResealReport struct {
	Key      uint32             // that it is sealed with
	Resealed map[SealedKind]int // by this call
	Before   int                // were sealed with the key already
	Changed  int                // were changed by others meanwhile, and looked at again
	Unopened []Unopened
}

// Total is how much was sealed anew.
func (r ResealReport) Total() (n int) {
	for _, of := range r.Resealed {
		n += of
	}
	return n
}

// resealPasses is how often Reseal begins anew with what others have changed meanwhile.
const resealPasses = 10

// Reseal seals all that is sealed with the keyset's first key, while workers go on: what
// somebody else changes meanwhile stays as they have made it. What is sealed with the key
// is left alone, so after a stop in the middle it goes on where it was. It begins only if
// the keyset opens what is stored, and all workers seal with its first key; what does not
// open nevertheless stays as it is, and is reported.
func (r *Registry) Reseal(ctx context.Context, cfg ResealConfig) (ResealReport, error) {
	cfg = cfg.withDefaults()
	report := ResealReport{Key: r.keys.ids[0], Resealed: map[SealedKind]int{}}
	if err := r.CheckKey(ctx); err != nil {
		return report, err
	}
	if err := r.allSealWith(ctx, report.Key); err != nil && !cfg.Lagging {
		return report, err
	}
	counts, err := r.store.CountSealed(ctx)
	if err != nil {
		return report, err
	}
	total := 0
	for _, c := range counts {
		total += c.N
		if bytes.Equal(c.Head, headOf(report.Key)) {
			report.Before += c.N
		}
	}
	cfg.Progress(report.Before, total)
	progress := func() { cfg.Progress(report.Before+report.Total(), total) }
	for range resealPasses {
		var left int
		if left, err = r.resealPass(ctx, cfg.Batch, &report, progress); err != nil || left == 0 {
			break
		}
		err = fmt.Errorf("%d of what is sealed were changed again and again meanwhile; run it once more", left)
	}
	return report, errors.Join(err, r.tellRotated(ctx, report, counts))
}

// resealPass goes through all that is not sealed with the key once. left is how much
// of it others have changed meanwhile.
func (r *Registry) resealPass(ctx context.Context, batch int, report *ResealReport, progress func()) (left int, err error) {
	report.Unopened = nil
	for _, kind := range SealedKinds {
		for after := ID(""); ; {
			old, err := r.store.Sealed(ctx, kind, headOf(report.Key), after, batch)
			if err != nil {
				return left, err
			}
			if len(old) == 0 {
				break
			}
			after = old[len(old)-1].Account
			var anew []Resealed
			for _, o := range old {
				is, err := r.keys.reseal(kind, o)
				if err != nil {
					report.Unopened = append(report.Unopened, Unopened{kind, o.Account})
					continue
				}
				anew = append(anew, Resealed{Account: o.Account, Was: o.Sealed, Is: is})
			}
			n, err := r.store.Reseal(ctx, kind, anew)
			if err != nil {
				return left, err
			}
			report.Resealed[kind] += n
			report.Changed += len(anew) - n
			left += len(anew) - n
			progress()
		}
	}
	return left, nil
}

func (k Keyset) reseal(kind SealedKind, o Sealed) ([]byte, error) {
	plain, err := k.aead.Decrypt(o.Sealed, kind.bound(o.Account))
	if err != nil {
		return nil, ErrWrongKey
	}
	defer clear(plain)
	return k.aead.Encrypt(plain, kind.bound(o.Account))
}

// allSealWith refuses to begin while a worker would undo it.
func (r *Registry) allSealWith(ctx context.Context, key uint32) error {
	theirs, err := r.store.WorkerKeys(ctx)
	if err != nil {
		return err
	}
	var lag []string
	for worker, ids := range theirs {
		if len(ids) == 0 || ids[0] != key {
			lag = append(lag, incarnated(worker))
		}
	}
	if len(lag) > 0 {
		slices.Sort(lag)
		return &LaggingError{Workers: slices.Compact(lag), Key: key}
	}
	return nil
}

// LaggingError: workers seal with another key than the one that all is to be sealed with.
type LaggingError struct {
	Workers []string
	Key     uint32
}

func (e *LaggingError) Error() string {
	return fmt.Sprintf("not all workers seal with key %d, or tell: %s; restart them with this keyset first", e.Key, strings.Join(e.Workers, ", "))
}

// tellRotated writes the event down, also of what was done until a stop.
func (r *Registry) tellRotated(ctx context.Context, report ResealReport, before []SealedCount) error {
	if report.Total() == 0 {
		return nil
	}
	reason := fmt.Sprintf("%d sealed anew with key %d", report.Total(), report.Key)
	var were KeyIDs
	for _, c := range before {
		if id, ok := c.KeyID(); ok && id != report.Key && !were.Has(id) {
			were = append(were, id)
		}
	}
	if len(were) > 0 {
		reason += ", before with " + were.Text()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return r.store.ToldRotated(ctx, reason)
}

// SealedState is what a look at all that is sealed has found.
type SealedState struct {
	Counts   []SealedCount
	Opened   int
	Unopened []Unopened
	Workers  map[string]KeyIDs
}

// LookAtSealed opens all that is sealed, and changes nothing.
func (r *Registry) LookAtSealed(ctx context.Context) (s SealedState, err error) {
	if s.Counts, err = r.store.CountSealed(ctx); err != nil {
		return s, err
	}
	if s.Workers, err = r.store.WorkerKeys(ctx); err != nil {
		return s, err
	}
	const page = 1000
	for _, kind := range SealedKinds {
		for after := ID(""); ; {
			some, err := r.store.Sealed(ctx, kind, nil, after, page)
			if err != nil {
				return s, err
			}
			for _, o := range some {
				plain, err := r.keys.aead.Decrypt(o.Sealed, kind.bound(o.Account))
				clear(plain)
				if err != nil {
					s.Unopened = append(s.Unopened, Unopened{kind, o.Account})
				} else {
					s.Opened++
				}
				after = o.Account
			}
			if len(some) < page {
				break
			}
		}
	}
	return s, nil
}
