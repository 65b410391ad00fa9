package sessionfile

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTData(t *testing.T) {
	t.Parallel()
	account := func(dc int, user int64, key string) want {
		return want{Format: TData, DC: dc, UserID: user, KeyID: keyID(t, key)}
	}
	for _, tt := range []struct {
		dir, passcode string
		want          []want
	}{
		{"one", "", []want{account(2, 1111, "td1")}},
		{"passcode", "correct horse", []want{account(4, 2222, "td2")}},
		{"three", "", []want{account(1, 3331, "td31"), account(2, 5000003332, "td32"), account(5, 3333, "td33")}},
	} {
		t.Run(tt.dir, func(t *testing.T) {
			t.Parallel()
			dir := "testdata/tdata-" + tt.dir
			above := t.TempDir()
			if err := os.CopyFS(filepath.Join(above, "tdata"), os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{dir, above, zipped(t, above)} {
				found, err := Read(t.Context(), path, Options{Passcode: []byte(tt.passcode)})
				if err != nil {
					t.Fatal(err)
				}
				var have []want
				for _, f := range found {
					have = append(have, got(f))
				}
				if diff := cmp.Diff(tt.want, have); diff != "" {
					t.Errorf("%s (-want +got):\n%s", path, diff)
				}
			}
		})
	}
}

// zipped is an archive of a folder.
func zipped(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tdata.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTDataRefuses(t *testing.T) {
	t.Parallel()
	change := func(dir, file string, do func([]byte) []byte) string {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS("testdata/tdata-"+dir)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, do(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return to
	}
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	for _, tt := range []struct {
		name, path, passcode string
		format               Format
		want                 string
	}{
		{"locked", "testdata/tdata-passcode", "", "", "tdata: it is locked with a passcode; give the passcode with --passcode-file"},
		{"wrong passcode", "testdata/tdata-passcode", "battery staple", "", "tdata: the passcode is wrong"},
		{"a passcode too many", "testdata/tdata-one", "x", "", "tdata: the passcode is wrong"},
		{"another folder", t.TempDir(), "", "", "tdata: the folder has no key_datas; give Telegram Desktop's folder tdata"},
		{"a folder for a file", "testdata/tdata-one", "", Telethon, "it is a folder, and telethon is a file"},
		{"key cut", change("one", "key_datas", cut), "", "", "tdata: file key_datas is damaged: its checksum is another"},
		{"account cut", change("one", "D877F783D5D3EF8Cs", cut), "", "", "tdata: account 1 of it: file D877F783D5D3EF8Cs is damaged: its checksum is another"},
		{"too large", change("one", "key_datas", func(b []byte) []byte { return append(b, make([]byte, maxTData)...) }), "", "", "tdata: file key_datas has more than 1 MiB, so it is damaged"},
		{"an archive of something else", zipped(t, change("one", "key_datas", cut)+"/D877F783D5D3EF8C"), "", "", "it is no session that is known: the zip archive has no key_datas"},
		{"no such file", "testdata/nothing", "", "", "no such file or directory"},
	} {
		_, err := Read(t.Context(), tt.path, Options{Format: tt.format, Passcode: []byte(tt.passcode)})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v\nwant %s", tt.name, err, tt.want)
		}
	}
}
