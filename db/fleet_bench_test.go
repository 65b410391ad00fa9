package db

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// BenchmarkFleet is what a worker asks of the database when nothing happens, beside
// 10,000 accounts, and what it asks when a tenth of them are free.
func BenchmarkFleet(b *testing.B) {
	forEachBench(b, func(b *testing.B, d *DB) {
		const n = 10000
		ls := d.Leases()
		err := d.run(b.Context()).Transaction(func(tx *gorm.DB) error {
			for i := range n {
				labels := accounts.Labels{"region": []string{"eu", "us", "asia"}[i%3]}
				a := accounts.Account{ID: accounts.ID(fmt.Sprintf("account-%06d", i)), Kind: accounts.User, Status: accounts.Active, DC: 2, Labels: labels}
				as := &Accounts{d: &DB{dialect: d.dialect, gorm: tx}}
				if err := as.CreateAccount(b.Context(), a, []byte("x")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		signUp(b, d, "w1", "w2", "w3")
		sets := every(b, d)
		for i, w := range []string{"w1", "w2", "w3"} {
			if _, err := ls.Claim(b.Context(), w, sets, n/3+i); err != nil {
				b.Fatal(err)
			}
		}
		if !d.lite {
			d.exec(b, "ANALYZE")
		}
		steps := map[string]func() error{
			"renew":     func() error { return ls.Renew(b.Context(), "w1", time.Hour) },
			"standings": func() error { _, err := ls.Standings(b.Context(), "w1"); return err },
			"fleet":     func() error { _, err := ls.Fleet(b.Context(), "w1"); return err },
			"held":      func() error { _, err := ls.Held(b.Context(), "w1"); return err },
			"move": func() error {
				gs, err := ls.Claim(b.Context(), "w1", sets, 50)
				if err != nil {
					return err
				}
				if len(gs) == 0 {
					hs, err := ls.Held(b.Context(), "w1")
					if err != nil {
						return err
					}
					for _, h := range hs[:50] {
						gs = append(gs, h.Grant)
					}
				}
				return ls.Release(b.Context(), "w1", gs)
			},
		}
		for _, name := range []string{"renew", "standings", "fleet", "held", "move"} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if err := steps[name](); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
