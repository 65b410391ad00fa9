package handlers_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
)

// fileFixture uploads files of raw calls over alice's connection.
type fileFixture struct {
	*simtest.World
	dir  string // --files-dir
	cfg  handlers.Config
	conn *pool.Conn
}

func setupFiles(t *testing.T) *fileFixture {
	t.Helper()
	f := &fileFixture{World: simtest.New(t, "alice"), dir: t.TempDir()}
	f.cfg = handlers.Config{FilesDir: f.dir, FetchURLs: true, FetchAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	f.Leases(t)
	var err error
	if f.conn, err = f.Pool(t, pool.Config{}).Acquire(t.Context(), f.Lease("alice")); err != nil {
		t.Fatal(err)
	}
	return f
}

// write puts a file into the directory.
func (f *fileFixture) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// call makes a raw call whose files are uploaded first.
func (f *fileFixture) call(t *testing.T, method, params string) (*tg.Updates, error) {
	t.Helper()
	req, err := tljson.Decode(method, []byte(params))
	if err != nil {
		t.Fatal(err)
	}
	self := &tg.InputPeerSelf{}
	for i := range req.Peers {
		if err := req.Peers[i].Set(self); err != nil {
			t.Fatal(err)
		}
	}
	n := f.Sim.Stats().Calls // so that no call has the random_id of another
	req.Randomize(func(i int) int64 { return int64(n)<<8 + int64(i) + 1 })
	if err := handlers.New(handlers.Deps{}, f.cfg).Upload(t.Context(), f.conn, self, req.Files); err != nil {
		return nil, err
	}
	var box tg.UpdatesBox
	if err := f.conn.Invoke(t.Context(), req.Body, &box); err != nil {
		return nil, err
	}
	return box.Updates.(*tg.Updates), nil
}

// send sends a file, given by its JSON without "_", to the account itself.
func (f *fileFixture) send(t *testing.T, file string) (*tg.Updates, error) {
	t.Helper()
	return f.call(t, "messages.sendMedia", fmt.Sprintf(`{"peer": "me", "message": "", "media": {"_": "file", %s}}`, file))
}

// mediaOf lists what the messages of an answer carry, as photo or document with its
// mime type and name.
func mediaOf(us *tg.Updates) (out []string) {
	for _, u := range us.Updates {
		u, ok := u.(*tg.UpdateNewMessage)
		if !ok {
			continue
		}
		switch m := u.Message.(*tg.Message).Media.(type) {
		case *tg.MessageMediaPhoto:
			out = append(out, "photo")
		case *tg.MessageMediaDocument:
			doc := m.Document.(*tg.Document)
			out = append(out, fmt.Sprintf("%s %s", doc.MimeType, doc.Attributes[0].(*tg.DocumentAttributeFilename).FileName))
		}
	}
	return out
}

// digest is that of tgsim.File.
func digest(content []byte, partSize int) string {
	sums := sha256.New()
	for part := range slices.Chunk(content, partSize) {
		sum := sha256.Sum256(part)
		sums.Write(sum[:])
	}
	return hex.EncodeToString(sums.Sum(nil))
}

// arrived checks that the latest upload has the content.
func (f *fileFixture) arrived(t *testing.T, content []byte, big bool) {
	t.Helper()
	files := f.Sim.Files(f.User("alice").ID)
	last := files[len(files)-1]
	if last.Size != len(content) || last.Big != big || last.Digest != digest(content, last.PartSize) {
		t.Errorf("of %d bytes there arrived %+v", len(content), last)
	}
}

func picture(t *testing.T, encode func(*bytes.Buffer, image.Image) error, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(b *bytes.Buffer, m image.Image) error  { return png.Encode(b, m) }
func asJPEG(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }

// noise is content that has no type.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestFilesAreUploaded(t *testing.T) {
	t.Parallel()
	f := setupFiles(t)
	small, large, exact := []byte("hello, world"), noise(11<<20+5), noise(256<<10)
	photo, wide := picture(t, asPNG, 40, 30), picture(t, asPNG, 210, 10)
	tall, jpg := picture(t, asPNG, 2, 9_999), picture(t, asJPEG, 40, 30)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/download" {
			w.Header().Set("Content-Disposition", `attachment; filename="../the report.pdf"`)
		}
		_, _ = w.Write(small)
	}))
	t.Cleanup(web.Close)
	inline := func(content []byte, more string) string {
		return fmt.Sprintf(`"base64": %q%s`, base64.StdEncoding.EncodeToString(content), more)
	}
	tests := []struct {
		name    string
		content []byte
		file    string // "" is the content by path, as a.bin
		big     bool
		want    string
	}{
		{"by path", small, `"path": "a.bin", "name": "b.txt"`, false, "text/plain b.txt"},
		{"large", large, "", true, "application/octet-stream a.bin"},
		{"parts without a rest", exact, "", false, "application/octet-stream a.bin"},
		{"inline", small, inline(small, ""), false, "text/plain file"},
		{"inline and large", large, inline(large, `, "name": "x.zip"`), true, "application/zip x.zip"},
		{"by URL", small, fmt.Sprintf(`"url": "%s/dir/c%%20d.html?q"`, web.URL), false, "text/html c d.html"},
		{"with the server's name", small, fmt.Sprintf(`"url": "%s/download"`, web.URL), false, "application/pdf the report.pdf"},
		{"photo", photo, "", false, "photo"},
		{"photo by URL's kind", jpg, inline(jpg, ""), false, "photo"},
		{"photo as a file", photo, inline(photo, `, "mime_type": "application/octet-stream", "name": "p.png"`), false, "application/octet-stream p.png"},
		{"photo that is too wide", wide, inline(wide, `, "name": "p.png"`), false, "image/png p.png"},
		{"photo that is too tall", tall, inline(tall, `, "name": "p.png"`), false, "image/png p.png"},
		{"broken photo", photo[:20], inline(photo[:20], ""), false, "image/png file.png"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.write(t, "a.bin", tt.content)
			if tt.file == "" {
				tt.file = `"path": "a.bin"`
			}
			us, err := f.send(t, tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if got := mediaOf(us); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("sent %q, want %q", got, tt.want)
			}
			f.arrived(t, tt.content, tt.big)
		})
	}
	f.Clean(t)
}

// TestFilesInPlaces are files where a call wants an InputFile, and where it wants
// what Telegram has already.
func TestFilesInPlaces(t *testing.T) {
	t.Parallel()
	f := setupFiles(t)
	f.write(t, "a.txt", []byte("hello"))
	f.write(t, "b.jpg", picture(t, asJPEG, 40, 30))
	us, err := f.call(t, "messages.sendMedia", `{"peer": "me", "message": "", "media": {
		"_": "inputMediaUploadedPhoto", "file": {"_": "file", "path": "b.jpg"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := mediaOf(us); !slices.Equal(got, []string{"photo"}) {
		t.Errorf("sent %q", got)
	}
	us, err = f.call(t, "messages.sendMultiMedia", `{"peer": "me", "multi_media": [
		{"_": "inputSingleMedia", "media": {"_": "file", "path": "b.jpg"}, "message": "one"},
		{"_": "inputSingleMedia", "media": {"_": "file", "path": "a.txt"}, "message": "two"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := mediaOf(us); !slices.Equal(got, []string{"photo", "text/plain a.txt"}) {
		t.Errorf("sent %q", got)
	}
	if n := len(f.Calls("alice", "messages.uploadMedia")); n != 2 {
		t.Errorf("%d calls of messages.uploadMedia, want 2", n)
	}
	f.Clean(t)
}

func TestFilesAreRefused(t *testing.T) {
	t.Parallel()
	f := setupFiles(t)
	outside := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "secret.txt"), []byte("x"), 0o600),
		os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(f.dir, "link.txt")),
		os.Symlink(outside, filepath.Join(f.dir, "linked")),
		os.Mkdir(filepath.Join(f.dir, "dir"), 0o700),
		syscall.Mkfifo(filepath.Join(f.dir, "pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.write(t, "empty.txt", nil)
	f.write(t, "large.txt", make([]byte, 101))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/none":
			w.WriteHeader(http.StatusNotFound)
		case "/private":
			http.Redirect(w, r, "http://169.254.169.254/latest?secret", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/stream":
			w.(http.Flusher).Flush()
			_, _ = w.Write(make([]byte, 81))
		case "/large":
			_, _ = w.Write(make([]byte, 81))
		case "/broken":
			w.Header().Set("Content-Length", "80")
			_, _ = w.Write([]byte("x"))
		}
	}))
	t.Cleanup(web.Close)
	open := handlers.Config{FilesDir: f.dir, FetchURLs: true, FetchAllow: f.cfg.FetchAllow, MaxFile: 100, MaxFetch: 80}
	public := open
	public.FetchAllow = nil
	gone := open
	gone.FilesDir = filepath.Join(outside, "gone")
	url := func(path string) string {
		return fmt.Sprintf(`"url": "%s%s"`, strings.Replace(web.URL, "//", "//user:secret@", 1), path)
	}
	tests := []struct {
		name  string
		cfg   handlers.Config
		file  string
		want  string
		retry bool
	}{
		{"paths are off", handlers.Config{}, `"path": "a.txt"`, "file_not_allowed", false},
		{"URLs are off", handlers.Config{}, url("/"), "file_not_allowed", false},
		{"up", open, `"path": "../secret.txt"`, "file_not_allowed", false},
		{"down and up", open, `"path": "dir/../../secret.txt"`, "file_not_allowed", false},
		{"absolute", open, `"path": "/etc/passwd"`, "file_not_allowed", false},
		{"link to a file", open, `"path": "link.txt"`, "file_not_allowed", false},
		{"link to a directory", open, `"path": "linked/secret.txt"`, "file_not_allowed", false},
		{"directory", open, `"path": "dir"`, "file_not_allowed", false},
		{"pipe", open, `"path": "pipe"`, "file_not_allowed", false},
		{"not there", open, `"path": "none.txt"`, "file_unreadable", false},
		{"below a file", open, `"path": "large.txt/x"`, "file_unreadable", false},
		{"no directory", gone, `"path": "a.txt"`, "file_unreadable", true},
		{"empty", open, `"path": "empty.txt"`, "file_empty", false},
		{"too large", open, `"path": "large.txt"`, "file_too_large", false},
		{"too large inline", open, fmt.Sprintf(`"base64": %q`, strings.Repeat("AAAA", 34)), "file_too_large", false},
		{"private address", public, url("/"), "file_not_allowed", false},
		{"redirect to a private address", open, url("/private"), "file_not_allowed", false},
		{"redirects", open, url("/loop"), "fetch_failed", false},
		{"no web", open, `"url": "ftp://example.com/secret"`, "fetch_failed", false},
		{"no URL", open, `"url": "secret"`, "fetch_failed", false},
		{"no such page", open, url("/none?secret"), "fetch_failed", false},
		{"busy", open, url("/busy"), "fetch_failed", true},
		{"broken off", open, url("/broken"), "fetch_failed", true},
		{"nothing there", open, url("/"), "file_empty", false},
		{"too large a page", open, url("/large"), "file_too_large", false},
		{"too long a stream", open, url("/stream"), "file_too_large", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.cfg = tt.cfg
			_, err := f.send(t, tt.file)
			if err == nil {
				t.Fatal("it was sent")
			}
			if retry := handlers.Retries(err); retry != tt.retry {
				t.Fatalf("tried again: %t, want %t; %v", retry, tt.retry, err)
			}
			if tt.retry {
				return
			}
			state, end := handlers.Judged(err)
			if state != jobs.Failed || end.Name != tt.want || !strings.HasPrefix(end.Message, "invoke.params.media: ") || strings.Contains(end.Message, "secret@") ||
				strings.Contains(end.Message, "?secret") || strings.Contains(end.Message, f.dir) {
				t.Errorf("ended %s with %+v, want %s", state, end, tt.want)
			}
		})
	}
	if files := f.Sim.Files(f.User("alice").ID); len(files) != 0 {
		t.Errorf("uploaded %+v", files)
	}
}

// TestUploadGoesOn is an upload whose connection is lost and whom Telegram asks to
// wait a little.
func TestUploadGoesOn(t *testing.T) {
	t.Parallel()
	f := setupFiles(t)
	content := noise(11 << 20)
	f.write(t, "a.bin", content)
	f.Sim.AddFault(tgsim.Fault{Method: "upload.saveBigFilePart", Cut: true, Times: 2})
	f.Sim.AddFault(tgsim.Fault{Method: "upload.saveBigFilePart", Error: "FLOOD_PREMIUM_WAIT_1", Times: 1})
	if _, err := f.send(t, `"path": "a.bin"`); err != nil {
		t.Fatal(err)
	}
	f.arrived(t, content, true)
	if files := f.Sim.Files(f.User("alice").ID); len(files) != 1 {
		t.Errorf("%d uploads, want one that went on", len(files))
	}
	f.Clean(t)
}

func TestUploadEnds(t *testing.T) {
	t.Parallel()
	f := setupFiles(t)
	f.write(t, "a.txt", []byte("hello"))
	f.Sim.AddFault(tgsim.Fault{Method: "upload.saveFilePart", Error: "FILE_PART_SIZE_INVALID", Times: 1})
	_, err := f.send(t, `"path": "a.txt"`)
	if state, end := handlers.Judged(err); state != jobs.Failed || end.Name != "FILE_PART_SIZE_INVALID" {
		t.Errorf("ended %s with %+v", state, end)
	}
	f.Sim.AddFault(tgsim.Fault{Method: "upload.saveFilePart", Error: "FLOOD_WAIT_60", Times: 1})
	_, err = f.send(t, `"path": "a.txt"`)
	var flood *accounts.FloodWaitError
	if !errors.As(err, &flood) || !handlers.Retries(err) {
		t.Errorf("error %v, want the flood wait", err)
	}
}
