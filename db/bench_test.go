package db

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/peers"
)

// forEachBench runs f on both databases. The Postgres of "postgres" does not wait
// for its log; that of "durable" commits synchronously (without fsync).
func forEachBench(b *testing.B, f func(*testing.B, *DB)) {
	for _, db := range []struct {
		name string
		url  func(testing.TB) string
	}{
		{"postgres", testenv.Postgres},
		{"durable", func(t testing.TB) string { return testenv.PostgresServer(t).URL() }},
		{"sqlite", sqliteURL},
	} {
		b.Run(db.name, func(b *testing.B) { f(b, open(b, db.url(b))) })
	}
}

// concurrently runs f n times in all by so many callers.
func concurrently(b *testing.B, callers int, f func(i int) error) {
	var next atomic.Int64
	b.ResetTimer()
	ended := make(chan error, callers)
	for range callers {
		go func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					ended <- nil
					return
				}
				if err := f(i); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for range callers {
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "per_s")
}

func BenchmarkRecord(b *testing.B) {
	forEachBench(b, func(b *testing.B, d *DB) {
		addAccounts(b, d, numbered(100)...)
		held := hold(b, d, "w")
		for _, callers := range []int{1, 100} {
			b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
				l := d.Ledger(LedgerConfig{})
				concurrently(b, callers, func(i int) error {
					r := done(uuid.Must(uuid.NewV7()).String())
					r.Account = accounts.ID(fmt.Sprintf("a%03d", i%100))
					r.EnqueuedAt, r.StartedAt, r.FinishedAt = time.Now(), time.Now(), time.Now()
					_, err := l.Record(b.Context(), held[r.Account], r)
					return err
				})
			})
		}
	})
}

func BenchmarkOutcome(b *testing.B) {
	forEachBench(b, func(b *testing.B, d *DB) {
		addAccounts(b, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(b, d, "w")["alice"]
		ids := make([]string, 1000)
		for i := range ids {
			ids[i] = uuid.Must(uuid.NewV7()).String()
			if _, err := l.Record(b.Context(), lease, done(ids[i])); err != nil {
				b.Fatal(err)
			}
		}
		for _, callers := range []int{1, 100} {
			for what, known := range map[string]bool{"known": true, "unknown": false} {
				b.Run(fmt.Sprintf("%s/callers=%d", what, callers), func(b *testing.B) {
					concurrently(b, callers, func(i int) error {
						id := ids[i%len(ids)]
						if !known {
							id = uuid.Must(uuid.NewV7()).String()
						}
						if _, err := l.Outcome(b.Context(), id); known && err != nil {
							return err
						}
						return nil
					})
				})
			}
		}
	})
}

// BenchmarkSavePeers saves flushes of 1000 peers of 10 accounts: new ones, known
// ones whose title or name changed, and known ones that are as they were; and reads.
func BenchmarkSavePeers(b *testing.B) {
	forEachBench(b, func(b *testing.B, d *DB) {
		const flush, known = 1000, 20000
		ids := numbered(10)
		addAccounts(b, d, ids...)
		save := func(b *testing.B, from int64, name, title string) {
			seen := make([]peers.Sighting, flush)
			for i := range seen {
				id := from + int64(i)
				p := user(id, fmt.Sprint(name, id))
				p.Title, p.SeenAt = title, epoch
				seen[i] = peers.Sighting{Account: ids[id%10], Peer: p}
			}
			if err := d.Peers().SavePeers(b.Context(), seen); err != nil {
				b.Fatal(err)
			}
		}
		for from := int64(1); from < known; from += flush {
			save(b, from, "user", "T")
		}
		fresh := int64(1 << 20)
		at := func(i int) int64 { return int64(1 + i*flush%known) }
		for _, kind := range []struct {
			name string
			f    func(b *testing.B, i int)
		}{
			{"unchanged", func(b *testing.B, i int) { save(b, at(i), "user", "T") }},
			{"new", func(b *testing.B, _ int) { save(b, fresh, "user", "T"); fresh += flush }},
			{"retitled", func(b *testing.B, i int) { save(b, at(i), "user", fmt.Sprint(fresh, i, b.N)) }},
			{"renamed", func(b *testing.B, i int) { save(b, at(i), fmt.Sprint("name", i, "of", b.N, "x"), "T") }},
		} {
			b.Run(kind.name, func(b *testing.B) {
				for i := range b.N {
					kind.f(b, i)
				}
				b.ReportMetric(float64(b.N*flush)/b.Elapsed().Seconds(), "peers_per_s")
			})
		}
		for from := int64(1); from < known; from += flush {
			save(b, from, "user", "T")
		}
		s := d.Peers()
		b.Run("read", func(b *testing.B) {
			for i := range b.N {
				id := int64(1 + i%(known-1))
				if _, err := s.Peer(b.Context(), ids[id%10], user(id).Key); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("read by name", func(b *testing.B) {
			for i := range b.N {
				id := 1 + i%(known-1)
				if _, err := s.PeerByUsername(b.Context(), ids[id%10], fmt.Sprint("user", id)); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkLeaseTick is what a worker asks every few seconds, with 10,000
// accounts of which it holds its share.
func BenchmarkLeaseTick(b *testing.B) {
	forEachBench(b, func(b *testing.B, d *DB) {
		for i := range 10000 {
			d.exec(b, `INSERT INTO accounts (id, kind, status, reason, user_id, dc, proxy, created_at, updated_at)
				VALUES (?, 'user', 'active', '', 0, 2, '', ?, ?)`, fmt.Sprintf("a%05d", i), d.time(epoch), d.time(epoch))
		}
		signUp(b, d, "w1", "w2")
		b.Run("claim 5000", func(b *testing.B) {
			for range b.N {
				claim(b, d, "w1", 10000)
				b.StopTimer()
				d.exec(b, "UPDATE leases SET worker = NULL")
				b.StartTimer()
			}
		})
		claim(b, d, "w1", 10000)
		claim(b, d, "w2", 10000)
		d.exec(b, "DELETE FROM accounts WHERE id = 'a09999'") // w2 has room and finds nothing
		for _, w := range []string{"w1", "w2"} {
			b.Run("nothing to do "+w, func(b *testing.B) {
				for range b.N {
					if err := d.Leases().Renew(b.Context(), w, time.Hour); err != nil {
						b.Fatal(err)
					}
					if _, err := d.Leases().Standings(b.Context(), w); err != nil {
						b.Fatal(err)
					}
					claim(b, d, w, 10000)
				}
			})
		}
	})
}
