package sessionfile

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"

	"github.com/gotd/td/crypto"
)

const (
	keyFile  = "key_data" // and then s, 0 or 1
	saltSize = 32

	desktopAuthorization = 0x4b           // dbiMtpAuthorization
	desktopWide          = math.MaxUint32 // twice: ids of 64 bits follow
	desktopTestDC        = 10_000         // what MTProto adds to the number of a test data center
)

// readTData reads Telegram Desktop's folder tdata, or the one that it is in. It does not
// use gotd's reader, which makes room for as many accounts and keys as a file claims to
// have, whatever its length.
func readTData(root fs.FS, passcode []byte) ([]Found, error) {
	dir, err := findTData(root)
	if err != nil {
		return nil, err
	}
	key, accounts, err := desktopAccounts(dir, passcode)
	if err != nil {
		return nil, fmt.Errorf("tdata: %w", err)
	}
	var found []Found
	for _, n := range accounts {
		f, err := desktopAccount(dir, n, key)
		switch {
		case errors.Is(err, errLoggedOut):
			continue
		case err != nil:
			return nil, fmt.Errorf("tdata: account %d of it: %w", uint64(n)+1, err)
		}
		found = append(found, f)
	}
	if len(found) == 0 {
		return nil, errors.New("tdata: nobody is logged in there")
	}
	return found, nil
}

// IsTData tells the folder in which Telegram Desktop keeps its key.
func IsTData(path string) bool { return hasKey(os.DirFS(path), ".") }

func hasKey(root fs.FS, dir string) bool {
	for _, suffix := range "s01" {
		if _, err := fs.Stat(root, path.Join(dir, keyFile+string(suffix))); err == nil {
			return true
		}
	}
	return false
}

// findTData returns the folder that has the key.
func findTData(root fs.FS) (fs.FS, error) {
	for _, dir := range []string{".", "tdata", "Telegram/tdata", "Telegram Desktop/tdata"} {
		if hasKey(root, dir) {
			return fs.Sub(root, dir)
		}
	}
	return nil, fmt.Errorf("tdata: the folder has no %ss; give Telegram Desktop's folder tdata", keyFile)
}

// desktopAccounts reads the key of the folder, and which accounts it has.
// Source: storage_domain.cpp, Domain::startUsingPasscode.
func desktopAccounts(dir fs.FS, passcode []byte) (key crypto.Key, accounts []uint32, err error) {
	file, err := desktopFile(dir, keyFile)
	if err != nil {
		return key, nil, err
	}
	salt, err := file.array()
	if err != nil || len(salt) != saltSize {
		return key, nil, errors.New("its key file is damaged")
	}
	passcodeKey, err := desktopKey(passcode, salt)
	if err != nil {
		return key, nil, err
	}
	inner, err := file.decrypt(passcodeKey)
	switch {
	case errors.Is(err, errOtherKey) && len(passcode) == 0:
		return key, nil, errors.New("it is locked with a passcode; give the passcode with --passcode-file")
	case errors.Is(err, errOtherKey):
		return key, nil, errors.New("the passcode is wrong")
	case err != nil || len(inner.left) != len(key):
		return key, nil, errors.New("its key file is damaged")
	}
	copy(key[:], inner.left)
	list, err := file.decrypt(key)
	if err != nil {
		return key, nil, errors.New("its list of accounts is damaged")
	}
	accounts, err = parseDesktopList(list)
	return key, accounts, err
}

// parseDesktopList reads the numbers of the accounts.
func parseDesktopList(r *qtReader) ([]uint32, error) {
	count, err := r.uint32()
	if err != nil || uint64(count)*4 > uint64(len(r.left)) {
		return nil, errors.New("its list of accounts is damaged")
	}
	accounts := make([]uint32, count)
	for i := range accounts {
		if err := r.uint32s(&accounts[i]); err != nil {
			return nil, err
		}
	}
	return accounts, nil
}

// desktopAccount reads one account; its number counts from 0.
func desktopAccount(dir fs.FS, number uint32, key crypto.Key) (Found, error) {
	name := "data"
	if number > 0 {
		name = fmt.Sprintf("data#%d", uint64(number)+1)
	}
	name = desktopName(name)
	file, err := desktopFile(dir, name)
	if err != nil {
		return Found{}, err
	}
	r, err := file.decrypt(key)
	if err != nil {
		return Found{}, fmt.Errorf("file %ss is damaged or of another folder", name)
	}
	f, err := parseDesktopAuthorization(r)
	if err != nil {
		return Found{}, err
	}
	// Without a config it is of Telegram's usual servers, as for Telegram Desktop.
	if file, err := desktopFile(dir, path.Join(name, "config")); err == nil {
		if r, err := file.decrypt(key); err == nil {
			f.readDesktopConfig(r)
		}
	}
	f.setTest(f.Test)
	return f, nil
}

var errLoggedOut = errors.New("it is not logged in")

// parseDesktopAuthorization reads user id, data center, and the keys of several data
// centers. Source: storage_account.cpp, readMtpData; main_account.cpp, setMtpAuthorization.
func parseDesktopAuthorization(r *qtReader) (Found, error) {
	damaged := errors.New("its keys are damaged")
	id, err := r.uint32()
	if err != nil || id != desktopAuthorization {
		return Found{}, damaged
	}
	serialized, err := r.array()
	if err != nil {
		return Found{}, damaged
	}
	r = &qtReader{serialized}
	var narrow, main, keys uint32
	if err := r.uint32s(&narrow, &main); err != nil {
		return Found{}, damaged
	}
	user := uint64(narrow)
	if narrow == desktopWide && main == desktopWide {
		var err error
		if user, err = r.uint64(); err != nil {
			return Found{}, damaged
		}
		if err := r.uint32s(&main); err != nil {
			return Found{}, damaged
		}
	}
	if err := r.uint32s(&keys); err != nil || user > math.MaxInt64 {
		return Found{}, damaged
	}
	for range keys {
		var dc uint32
		if err := r.uint32s(&dc); err != nil {
			return Found{}, damaged
		}
		key, err := r.take(keySize)
		if err != nil {
			return Found{}, damaged
		}
		if dc != main {
			continue
		}
		f, err := newFound(TData, int(dc%desktopTestDC), key)
		f.UserID, f.Test = int64(user), dc > desktopTestDC
		return f, err
	}
	return Found{}, errLoggedOut
}

// Flags of a data center's address in tdata.
const (
	desktopIPv6 = 1 << iota
	desktopMedia
	desktopObfuscated
	desktopCDN
)

// readDesktopConfig takes the environment and the address from a config, as far as it
// can be read: Telegram Desktop makes a new one when it is not. Source:
// mtproto_config.cpp, Config::FromSerialized; mtproto_dc_options.cpp,
// DcOptions::constructFromSerialized.
func (f *Found) readDesktopConfig(r *qtReader) {
	serialized, err := r.array()
	if err != nil {
		return
	}
	r = &qtReader{serialized}
	var version, environment uint32
	if r.uint32s(&version, &environment) != nil || environment > 1 {
		return
	}
	f.Test = f.Test || environment == 1
	options, err := r.array()
	if err != nil {
		return
	}
	r = &qtReader{options}
	var count uint32
	if r.uint32s(&count) != nil {
		return
	}
	secrets := int32(count) < 0 // minus the version, from version 1 on
	if secrets && r.uint32s(&count) != nil {
		return
	}
	for range count {
		var dc, flags, port uint32
		if r.uint32s(&dc, &flags, &port) != nil {
			return
		}
		ip, err := r.array()
		if err != nil {
			return
		}
		if secrets {
			if _, err := r.array(); err != nil {
				return
			}
		}
		usable := flags&(desktopIPv6|desktopMedia|desktopObfuscated|desktopCDN) == 0 && port > 0 && port <= math.MaxUint16
		if usable && int64(dc) == int64(f.Session.DC) {
			f.setAddr(string(ip), uint16(port))
			return
		}
	}
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
		base := path.Base(file.Name)
		suffix, ok := strings.CutPrefix(base, keyFile)
		if ok && strings.Contains("s01", cmp.Or(suffix, "-")) && fs.ValidPath(path.Dir(file.Name)) {
			dir, err := fs.Sub(archive, path.Dir(file.Name))
			if err != nil {
				return nil, err
			}
			return readTData(dir, o.Passcode)
		}
	}
	return nil, unknown("the zip archive has no %ss; give one of Telegram Desktop's folder tdata", keyFile)
}
