package db

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tgswitchboard/switchboard/jobs"
)

// A producer enqueues in a transaction of its own: the job is there if the order is.
func ExampleDB_Outbox() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := Open(ctx, "sqlite:"+filepath.Join(dir, "example.db"), Config{}) // Postgres, but for examples
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	shop := d.pool // the producer's *sql.DB
	if _, err := shop.ExecContext(ctx, "CREATE TABLE orders (id INTEGER PRIMARY KEY)"); err != nil {
		log.Fatal(err)
	}

	order := func(id int, fail error) error {
		tx, err := shop.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", id); err != nil {
			return err
		}
		text := fmt.Sprintf("Order %d is on its way", id)
		if _, err := jobs.EnqueueTx(ctx, tx, "alice", jobs.Send{To: "@bob", Text: text}); err != nil {
			return err
		}
		if fail != nil {
			return fail
		}
		return tx.Commit()
	}
	fmt.Println(order(17, nil))
	fmt.Println(order(18, errors.New("out of stock")))

	// What a worker does.
	n, err := d.Outbox().Relay(ctx, func(_ context.Context, rows []jobs.Outboxed) error {
		for _, row := range rows {
			fmt.Println(row.Account, row.Kind, string(row.Payload))
		}
		return nil
	})
	fmt.Println(n, err)
	// Output:
	// <nil>
	// out of stock
	// alice send {"v":1,"account":"alice","send":{"to":"@bob","text":"Order 17 is on its way"}}
	// 1 <nil>
}
