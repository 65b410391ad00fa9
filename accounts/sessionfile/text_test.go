package sessionfile

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStrings reads what the other libraries have written, under a name and without.
func TestStrings(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			for how, text := range map[string]string{
				"as it is":     v.Text,
				"with spaces":  " \t" + v.Text + "\r\n",
				"quoted":       `"` + v.Text + `"`,
				"no padding":   strings.TrimRight(v.Text, "="),
				"padded":       strings.TrimRight(v.Text, "=") + "==",
				"url alphabet": strings.NewReplacer("+", "-", "/", "_").Replace(v.Text),
				"with a mark":  "\ufeff" + v.Text,
			} {
				for _, f := range []Format{"", v.Want.Format} {
					found, err := ReadFrom(t.Context(), strings.NewReader(text), Options{Format: f})
					if err != nil || len(found) != 1 {
						t.Errorf("%s, %q: %v, %v", how, f, found, err)
						continue
					}
					if diff := cmp.Diff(v.Want, got(found[0])); diff != "" {
						t.Errorf("%s, %q (-want +got):\n%s", how, f, diff)
					}
				}
			}
			for _, f := range Formats() {
				if f == v.Want.Format {
					continue
				}
				if _, err := ReadFrom(t.Context(), strings.NewReader(v.Text), Options{Format: f}); err == nil || !strings.Contains(err.Error(), string(f)) {
					t.Errorf("as %s: error %v", f, err)
				}
			}
		})
	}
}

// TestPyrogramOldest reads the form of Pyrogram 1: user ids had 32 bits.
func TestPyrogramOldest(t *testing.T) {
	t.Parallel()
	raw := append([]byte{3, 0}, madeUp(t, "old").Bytes()...)
	raw = append(raw, 0x07, 0x5b, 0xcd, 0x15, 1)
	text := base64.RawURLEncoding.EncodeToString(raw)
	if len(text) != 351 {
		t.Fatalf("%d characters", len(text))
	}
	found, err := ReadFrom(t.Context(), strings.NewReader(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	bot := true
	if diff := cmp.Diff(want{Format: Pyrogram, DC: 3, UserID: 123456789, Bot: &bot, KeyID: keyID(t, "old")}, got(found[0])); diff != "" {
		t.Error(diff)
	}
}

// TestTextRefuses has one sentence for what is wrong, without any of the text.
func TestTextRefuses(t *testing.T) {
	t.Parallel()
	byName := map[string]string{}
	for _, v := range vectors(t) {
		byName[v.Name] = v.Text
	}
	tele, pyro, mt, gram := byName["telethon IPv4"], byName["pyrogram 362"], byName["mtcute user"], byName["gramjs IPv4"]
	zero := base64.URLEncoding.EncodeToString(append([]byte{2, 149, 154, 167, 51, 1, 187}, make([]byte, 256)...))
	for _, tt := range []struct {
		name   string
		text   string
		format Format
		want   string
	}{
		{"empty", " \n", "", "it is no session that is known: it is empty"},
		{"nothing known", "hello world", "", "it is no session that is known"},
		{"telethon cut", tele[:200], Telethon, "telethon: it has 149 bytes, and a whole string has 263 or 275; copy all of it"},
		{"telethon of the future", "2" + tele[1:], Telethon, `telethon: the string begins with "2", and version 1 is the only one that is known`},
		{"telethon, no base64", tele[:50] + "!" + tele[51:], Telethon, "telethon: it is no base64 at character 50; copy the whole string, and nothing else"},
		{"telethon without a key", "1" + zero, "", "telethon: the auth key is all zeros; the client that made it has not logged in, or it is damaged"},
		{"telethon, no data center", "1" + base64.URLEncoding.EncodeToString(append([]byte{0, 1, 1, 1, 1, 1, 187}, madeUp(t, "x").Bytes()...)), "", "telethon: 0 is no data center, so it is damaged"},
		{"gramjs cut", gram[:300], GramJS, "gramjs: its 224 bytes are no data center, address, port and key; copy the whole string"},
		{"pyrogram cut", pyro[:300], Pyrogram, "pyrogram: it has 225 bytes, and a whole string has 263, 267 or 271; copy all of it"},
		{"pyrogram flags", base64.RawURLEncoding.EncodeToString(append(append([]byte{2, 7}, madeUp(t, "x").Bytes()...), 0, 0, 0, 9, 0)), "", "pyrogram: its user id or flags are none, so it is damaged"},
		{"mtcute cut", mt[:380], Mtcute, "mtcute: the string ends too early or is damaged; copy all of it"},
		{"mtcute cut, not named", mt[:380], "", "mtcute: the string ends too early or is damaged; copy all of it"},
		{"mtcute of the future", "BA" + mt[2:], Mtcute, "mtcute: its version is unknown; 1 to 3 are known"},
		{"another", tele, Pyrogram, "pyrogram: it is a session of another format, telethon"},
		{"no database", tele, TelethonSQLite, "telethon-sqlite: it is no SQLite database"},
		{"no tdata", tele, TData, "tdata: it is a file; give Telegram Desktop's folder tdata, or a zip archive of it"},
		{"too long", strings.Repeat("A", 5000), Mtcute, "mtcute: it has 5000 characters, and such a string has fewer than 4096"},
		{"much too long", strings.Repeat("A", 70000), "", "it is no session that is known: it has 70000 bytes and is neither SQLite nor a zip archive"},
		{"gotd, no JSON", "{", "", "gotd: the session is not JSON of gotd's form"},
		{"gotd of the future", `{"Version":2}`, Gotd, "gotd: the session has version 2; gotd's form has version 1"},
	} {
		path := filepath.Join(t.TempDir(), "session")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(t.Context(), path, Options{Format: tt.format})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v\nwant %s", tt.name, err, tt.want)
		}
		_, serr := ReadFrom(t.Context(), strings.NewReader(tt.text), Options{Format: tt.format})
		if serr == nil || err != nil && serr.Error() != err.Error() {
			t.Errorf("%s: from a stream %v", tt.name, serr)
		}
	}
}

// FuzzText wants no panic, and nothing of the text in an error.
func FuzzText(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Text, string(v.Want.Format))
		f.Add(v.Text[:len(v.Text)/2], "")
	}
	f.Add(`{"Version":1,"Data":{"DC":2,"AuthKey":"AAAA"}}`, "gotd")
	f.Fuzz(func(t *testing.T, text, format string) {
		found, err := readText([]byte(text), Format(format))
		if err != nil && len(text) > 40 && strings.Contains(err.Error(), text[20:40]) {
			t.Errorf("the error shows the text: %v", err)
		}
		if err == nil && (found.Session.Key.IsZero() || found.Session.DC < 1 || found.UserID < 0) {
			t.Errorf("read %+v", found)
		}
	})
}

// FuzzMtcute reaches behind the base64.
func FuzzMtcute(f *testing.F) {
	for _, v := range vectors(f) {
		if raw, err := decodeBase64(v.Text); err == nil && v.Want.Format == Mtcute {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if found, err := readMtcute(raw); err == nil && found.Session.Key.IsZero() {
			t.Error("read without a key")
		}
	})
}
