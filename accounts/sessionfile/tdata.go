package sessionfile

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"

	"github.com/gotd/td/session/tdesktop"
)

const (
	keyFile   = "key_data" // and then s, 0 or 1
	maxTData  = 1 << 20    // bytes of one of its files
	dcShift   = 10_000     // tdata has temporary data centers: 20002 is 2
	passcodes = "give the passcode with --passcode-file"
)

// readTData reads Telegram Desktop's folder tdata, or the one that it is in.
func readTData(root fs.FS, passcode []byte) (found []Found, err error) {
	dir, err := findTData(root)
	if err != nil {
		return nil, err
	}
	// gotd's reader trusts lengths of what was decrypted.
	defer func() {
		if recover() != nil {
			found, err = nil, errors.New("tdata: what it has inside is damaged")
		}
	}()
	list, err := tdesktop.ReadFS(small{dir}, passcode)
	switch {
	case errors.Is(err, tdesktop.ErrNoAccounts):
		return nil, errors.New("tdata: nobody is logged in there")
	case errors.Is(err, errTooLarge):
		return nil, fmt.Errorf("tdata: one of its files has more than %d MiB, so it is damaged", maxTData>>20)
	case err != nil && len(passcode) == 0:
		return nil, fmt.Errorf("tdata: it is locked with a passcode, or damaged (%w); if it has one, "+passcodes, err)
	case err != nil:
		return nil, fmt.Errorf("tdata: the passcode is wrong, or it is damaged (%w)", err)
	}
	for _, a := range list {
		f, err := desktopAccount(a)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}

// IsTData tells whether a folder has Telegram Desktop's key.
func IsTData(path string) bool {
	_, err := findTData(os.DirFS(path))
	return err == nil
}

// findTData returns the folder that has the key.
func findTData(root fs.FS) (fs.FS, error) {
	for _, dir := range []string{".", "tdata", "Telegram/tdata", "Telegram Desktop/tdata"} {
		for _, suffix := range "s01" {
			if _, err := fs.Stat(root, path.Join(dir, keyFile+string(suffix))); err == nil {
				return fs.Sub(root, dir)
			}
		}
	}
	return nil, fmt.Errorf("tdata: the folder has no %ss; give Telegram Desktop's folder tdata", keyFile)
}

func desktopAccount(a tdesktop.Account) (Found, error) {
	auth := a.Authorization
	key, ok := auth.Keys[auth.MainDC]
	if !ok {
		return Found{}, fmt.Errorf("tdata: account %d of it is not logged in", a.IDx+1)
	}
	f, err := newFound(TData, auth.MainDC%dcShift, key[:])
	if err != nil {
		return Found{}, err
	}
	if auth.UserID > math.MaxInt64 {
		return Found{}, errors.New("tdata: its user id is none, so it is damaged")
	}
	f.UserID = int64(auth.UserID)
	for _, o := range a.Config.DCOptions.Options {
		plain := !o.IPv6() && !o.MediaOnly() && !o.CDN() && !o.TCPOOnly()
		if int(o.ID) == f.Session.DC && plain && o.Port > 0 && o.Port <= math.MaxUint16 {
			f.setAddr(o.IP, uint16(o.Port))
			break
		}
	}
	f.setTest(a.Config.Environment.Test())
	return f, nil
}

// readZip reads tdata from an archive.
func readZip(r io.ReaderAt, size int64, o Options) ([]Found, error) {
	if o.Format != "" && o.Format != TData {
		return nil, fmt.Errorf("it is a zip archive, and %s is none", o.Format)
	}
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("the zip archive is damaged: %w", err)
	}
	for _, file := range archive.File {
		name := strings.TrimSuffix(path.Base(file.Name), "s")
		if name == keyFile && fs.ValidPath(path.Dir(file.Name)) {
			dir, err := fs.Sub(archive, path.Dir(file.Name))
			if err != nil {
				return nil, err
			}
			return readTData(dir, o.Passcode)
		}
	}
	return nil, unknown("the zip archive has no %ss; give one of Telegram Desktop's folder tdata", keyFile)
}

var errTooLarge = errors.New("a file is too large")

// small ends reading of large files: those that are wanted have some kilobytes. What
// an archive says of sizes need not be true.
type small struct{ fs.FS }

func (s small) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &smallFile{File: f, left: maxTData}, nil
}

type smallFile struct {
	fs.File
	left int // bytes that may come
}

func (f *smallFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if f.left -= n; f.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
