package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tgswitchboard/switchboard/internal/outbound"
	"github.com/tgswitchboard/switchboard/internal/tljson"
)

// source is the content of a file. It is read twice: for its kind, and for its
// upload.
type source struct {
	io.ReadSeeker
	size  int64
	name  string // "" if the source has none
	close func()
}

// open opens a file of a call. Its error is a *fileError, unless ctx has ended.
func (h *Handlers) open(ctx context.Context, f *tljson.File) (*source, error) {
	var src *source
	var err error
	switch {
	case f.Path != "":
		src, err = h.openPath(f)
	case f.URL != "":
		src, err = h.fetch(ctx, f)
	default:
		src = &source{ReadSeeker: bytes.NewReader(f.Data), size: int64(len(f.Data)), close: func() {}}
	}
	if err != nil {
		return nil, err
	}
	switch {
	case src.size == 0:
		err = &fileError{At: f.At, Name: fileEmpty, Message: "the file is empty; Telegram takes only files that have content"}
	case src.size > h.cfg.MaxFile:
		err = tooLarge(f, fmt.Sprintf("has %d bytes", src.size), h.cfg.MaxFile, "--max-file")
	}
	if err != nil {
		src.close()
		return nil, err
	}
	return src, nil
}

func tooLarge(f *tljson.File, has string, limit int64, flag string) *fileError {
	return &fileError{At: f.At, Name: fileTooLarge, Message: fmt.Sprintf(
		"the file %s, and this worker takes %d at most; make it smaller, or raise the worker's %s", has, limit, flag)}
}

// openPath opens a regular file of Config.FilesDir.
func (h *Handlers) openPath(f *tljson.File) (*source, error) {
	refused := func(name, message string) *fileError { return &fileError{At: f.At, Name: name, Message: message} }
	if h.cfg.FilesDir == "" {
		return nil, refused(fileNotAllowed, "this worker reads no files; give the worker --files-dir, or the call the content as base64")
	}
	if !filepath.IsLocal(f.Path) {
		return nil, refused(fileNotAllowed, fmt.Sprintf("the path %q leaves the worker's --files-dir; give one that is relative to it", f.Path))
	}
	root, err := os.OpenRoot(h.cfg.FilesDir)
	if err != nil {
		broken := refused(fileUnreadable, fmt.Sprintf("the worker's --files-dir cannot be opened: %s; it has to be there for every worker", errno(err)))
		broken.Retry = true
		return nil, broken
	}
	defer root.Close()
	// Without O_NONBLOCK the open of a named pipe waits for its other end.
	file, err := root.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	var no syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, refused(fileUnreadable, fmt.Sprintf("there is no file %q in the --files-dir of the worker; it has to be there when the job runs", f.Path))
	case errors.As(err, &no):
		return nil, refused(fileUnreadable, fmt.Sprintf("the file %q cannot be opened: %s; let the worker read it", f.Path, errno(err)))
	case err != nil: // os.Root has this for a link that leads out
		return nil, refused(fileNotAllowed, fmt.Sprintf("the path %q leaves the worker's --files-dir by a link; put the file itself there", f.Path))
	}
	is, err := file.Stat()
	if err != nil || !is.Mode().IsRegular() {
		_ = file.Close() // nothing was written
		return nil, refused(fileNotAllowed, fmt.Sprintf("%q is no regular file; name one", f.Path))
	}
	return &source{ReadSeeker: file, size: is.Size(), name: is.Name(), close: func() { _ = file.Close() }}, nil
}

// errno is what the system says, without the names of the worker's files.
func errno(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return "it is not usable"
}

// fetch copies what a URL names into a temporary file: Telegram wants to know the
// size before the first part, and the server behind the URL need not wait for
// Telegram.
func (h *Handlers) fetch(ctx context.Context, f *tljson.File) (*source, error) {
	refused := func(message string) *fileError { return &fileError{At: f.At, Name: fetchFailed, Message: message} }
	if !h.cfg.FetchURLs {
		return nil, &fileError{At: f.At, Name: fileNotAllowed,
			Message: "this worker fetches no URLs; give the worker --fetch-urls, or the call the content as base64"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil || req.URL.Host == "" { // the error has the whole URL
		return nil, refused("the URL cannot be read; give one like https://example.com/photo.jpg")
	}
	client := outbound.New(outbound.Config{MaxBody: h.cfg.MaxFetch, Allow: h.cfg.FetchAllow})
	defer client.Close()
	resp, err := client.Do(req)
	if err != nil {
		return nil, h.fetchError(f, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		bad := refused(fmt.Sprintf("%s answers with status %d; the URL has to lead to the file, without a login", req.URL.Host, resp.StatusCode))
		bad.Retry = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout
		return nil, bad
	}
	return h.spool(f, resp)
}

// spool copies an answer into a file that is gone once it is closed.
func (h *Handlers) spool(f *tljson.File, resp *http.Response) (*source, error) {
	broken := func(err error) *fileError {
		return &fileError{At: f.At, Name: fileUnreadable, Retry: true,
			Message: fmt.Sprintf("the worker cannot keep what it fetches: %s; it needs room in its temporary directory", errno(err))}
	}
	tmp, err := os.CreateTemp("", "switchboard-fetch-")
	if err != nil {
		return nil, broken(err)
	}
	_ = os.Remove(tmp.Name()) // it stays open; a worker that dies leaves nothing behind
	n, err := io.Copy(tmp, resp.Body)
	if err == nil {
		_, err = tmp.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = tmp.Close() // it is not used
		var fetch *outbound.Error
		if errors.As(err, &fetch) {
			return nil, h.fetchError(f, err)
		}
		return nil, broken(err)
	}
	return &source{ReadSeeker: tmp, size: n, name: fetchedName(resp), close: func() { _ = tmp.Close() }}, nil
}

// fetchError says what became of a request.
func (h *Handlers) fetchError(f *tljson.File, err error) *fileError {
	var why *outbound.Error
	switch {
	case errors.Is(err, outbound.ErrTooLarge):
		return tooLarge(f, "behind the URL is too large", h.cfg.MaxFetch, "--max-fetch")
	case errors.Is(err, outbound.ErrNotPublic):
		return &fileError{At: f.At, Name: fileNotAllowed, Message: fmt.Sprintf("%v; give a URL that anybody can open, or the content as base64", err)}
	case errors.As(err, &why) && why.Refused():
		return &fileError{At: f.At, Name: fetchFailed, Message: fmt.Sprintf("%v; give the URL of the file itself", err)}
	}
	return &fileError{At: f.At, Name: fetchFailed, Message: fmt.Sprintf("%v; see that the URL can be opened from the worker", err), Retry: true}
}

// fetchedName is the name that a server gives a file, or else the last part of the
// URL.
func fetchedName(resp *http.Response) string {
	_, disposition, _ := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
	for _, name := range []string{disposition["filename"], resp.Request.URL.Path} {
		if name = path.Base(strings.ReplaceAll(name, `\`, "/")); name != "." && name != "/" {
			return name
		}
	}
	return ""
}
