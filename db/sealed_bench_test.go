package db

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
)

// BenchmarkCountSealed is what a worker's start costs for the check of its key, with
// 10,000 accounts.
func BenchmarkCountSealed(b *testing.B) {
	forEachBench(b, func(b *testing.B, d *DB) {
		session := sealedBy(1, strings.Repeat("x", 300))
		err := d.run(b.Context()).Transaction(func(tx *gorm.DB) error {
			as := &Accounts{d: &DB{dialect: d.dialect, gorm: tx}}
			for i := range 10000 {
				a := accounts.Account{ID: accounts.ID(fmt.Sprintf("account-%06d", i)), Kind: accounts.User, Status: accounts.Active, DC: 2, Secrets: session}
				if err := as.CreateAccount(b.Context(), a, session); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if counts, err := d.Accounts().CountSealed(b.Context()); err != nil || len(counts) != 2 {
				b.Fatalf("%+v, %v", counts, err)
			}
		}
	})
}
