package sessionfile

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vector is a string that another library has made.
type vector struct {
	Name string `json:"name"`
	Text string `json:"text"`
	Want want   `json:"want"`
}

// want is what has to be read of a session.
type want struct {
	Format  Format `json:"format"`
	DC      int    `json:"dc"`
	Address string `json:"address"`
	Port    int    `json:"port"`
	UserID  int64  `json:"user_id"`
	Bot     *bool  `json:"bot"`
	Test    bool   `json:"test"`
	KeyID   string `json:"auth_key_id"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(data, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

// got is what was read, as want has it.
func got(f Found) want {
	id := f.Session.Key.ID()
	w := want{Format: f.Format, DC: f.Session.DC, UserID: f.UserID, Bot: f.Bot, Test: f.Test, KeyID: hex.EncodeToString(id[:])}
	if f.Session.Addr != "" {
		w.Address, w.Port, _ = Address(f.Session)
	}
	return w
}

// madeUp is the key that testdata's makers have made of a name.
func madeUp(t testing.TB, name string) accounts.AuthKey {
	t.Helper()
	var b []byte
	for i := range 8 {
		sum := sha256.Sum256(fmt.Append(nil, name, i))
		b = append(b, sum[:]...)
	}
	k, err := accounts.NewAuthKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyID(t testing.TB, name string) string {
	id := madeUp(t, name).ID()
	return hex.EncodeToString(id[:])
}

// database writes a SQLite file of statements; ? is the key.
func database(t testing.TB, key []byte, stmts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.session")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, stmt := range stmts {
		var args []any
		for _, c := range stmt {
			if c == '?' {
				args = append(args, key)
			}
		}
		if _, err := db.Exec(stmt, args...); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	return path
}
