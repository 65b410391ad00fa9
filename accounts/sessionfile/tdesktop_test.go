package sessionfile

import (
	"bytes"
	"crypto/aes"
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/gotd/ige"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
)

// qt is what a QDataStream writes of numbers and arrays.
func qt(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case []byte:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		}
	}
	return b
}

// sealed is content as desktopDecrypt wants it.
func sealed(t testing.TB, key crypto.Key, content []byte) []byte {
	t.Helper()
	content = append(binary.LittleEndian.AppendUint32(nil, uint32(len(content)+4)), content...)
	content = append(content, make([]byte, -len(content)&(aes.BlockSize-1))...)
	sum := sha1.Sum(content)
	var msgKey bin.Int128
	copy(msgKey[:], sum[:])
	aesKey, iv := crypto.OldKeys(key, msgKey, crypto.Server)
	block, err := aes.NewCipher(aesKey[:])
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, len(content))
	ige.EncryptBlocks(block, iv[:], out, content)
	return append(msgKey[:], out...)
}

// signedFile is content as desktopFile wants it.
func signedFile(content []byte) *fstest.MapFile {
	version := []byte{1, 2, 3, 0}
	sum := md5.Sum(append(append(binary.LittleEndian.AppendUint32(bytes.Clone(content), uint32(len(content))), version...), desktopMagic...))
	return &fstest.MapFile{Data: append(append(append([]byte(desktopMagic), version...), content...), sum[:]...)}
}

// tdataOf is a folder whose list, first account and config are these, without a passcode.
func tdataOf(t testing.TB, list, account, config []byte) fstest.MapFS {
	t.Helper()
	salt := make([]byte, saltSize)
	passcodeKey, err := desktopKey(nil, salt)
	if err != nil {
		t.Fatal(err)
	}
	var key crypto.Key
	copy(key[:], madeUp(t, "local key").Bytes())
	name := desktopName("data")
	return fstest.MapFS{
		"key_datas":                 signedFile(qt(salt, sealed(t, passcodeKey, key[:]), sealed(t, key, list))),
		name + "s":                  signedFile(qt(sealed(t, key, account))),
		name + "/configs":           signedFile(qt(sealed(t, key, config))),
		desktopName("data#2") + "s": signedFile(qt(sealed(t, key, account))),
	}
}

// desktopOf is the authorization of user 5 at data center main, with keys.
func desktopOf(main int, keys ...any) []byte {
	return qt(desktopAuthorization, qt(append([]any{desktopWide, desktopWide, uint64(5), main}, keys...)...))
}

// withKey are numbers and a key as an authorization has them: without a length.
func withKey(t testing.TB, main, dc int) []byte {
	inner := append(qt(desktopWide, desktopWide, uint64(5), main, 1, dc), madeUp(t, "desktop").Bytes()...)
	return qt(desktopAuthorization, inner)
}

func TestTDataInside(t *testing.T) {
	t.Parallel()
	options := qt(-1, 3, 2, desktopIPv6, 443, []byte("2001:67c:4e8:f002::a"), []byte{}, 2, 0, 5222, []byte("149.154.167.50"), []byte{}, 4, 0, 443, []byte("149.154.167.91"), []byte{})
	narrow := qt(desktopAuthorization, append(qt(77, 2, 1, 2), madeUp(t, "desktop").Bytes()...))
	one := qt(1, 0, 0)
	w := func(test bool, address string, port int) want {
		return want{Format: TData, DC: 2, UserID: 5, Address: address, Port: port, Test: test, KeyID: keyID(t, "desktop")}
	}
	old := w(false, "", 0)
	old.UserID = 77
	for _, tt := range []struct {
		name                  string
		list, account, config []byte
		want                  []want
		err                   string
	}{
		{name: "address", list: one, account: withKey(t, 2, 2), config: qt(qt(1, 0, options)), want: []want{w(false, "149.154.167.50", 5222)}},
		{name: "address, of old", list: one, account: withKey(t, 2, 2), config: qt(qt(1, 0, qt(1, 2, 0, 443, []byte("149.154.167.51")))), want: []want{w(false, "149.154.167.51", 443)}},
		{name: "test servers", list: one, account: withKey(t, 2, 2), config: qt(qt(1, 1, qt(-1, 0))), want: []want{w(true, "149.154.167.40", 443)}},
		{name: "test data center", list: one, account: withKey(t, 10002, 10002), want: []want{w(true, "149.154.167.40", 443)}},
		{name: "user id of old", list: one, account: narrow, want: []want{old}},
		{name: "config cut", list: one, account: withKey(t, 2, 2), config: qt(qt(1, 0, options[:20])), want: []want{w(false, "", 0)}},
		{name: "two accounts", list: qt(2, 0, 1, 0), account: withKey(t, 2, 2), want: []want{w(false, "", 0), w(false, "", 0)}},
		{name: "an account that is not there", list: qt(1, 7, 0), account: withKey(t, 2, 2), err: "tdata: account 8 of it: file FEC2F64A7E75EEE7s: file does not exist"},
		{name: "nobody", list: qt(0, 0), account: withKey(t, 2, 2), err: "tdata: nobody is logged in there"},
		{name: "logged out", list: one, account: desktopOf(2, 0), err: "tdata: nobody is logged in there"},
		{name: "a key of another data center", list: one, account: withKey(t, 2, 4), err: "tdata: nobody is logged in there"},
		{name: "4 billion accounts", list: qt(-1, 0), account: withKey(t, 2, 2), err: "tdata: its list of accounts is damaged"},
		{name: "4 billion keys", list: one, account: desktopOf(2, -1), err: "tdata: account 1 of it: its keys are damaged"},
		{name: "something else", list: one, account: qt(1, 2), err: "tdata: account 1 of it: its keys are damaged"},
		{name: "empty", err: "tdata: its list of accounts is damaged"},
	} {
		found, err := readTData(tdataOf(t, tt.list, tt.account, tt.config), nil)
		if (err != nil || tt.err != "") && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: error %v\nwant %s", tt.name, err, tt.err)
			continue
		}
		var have []want
		for _, f := range found {
			have = append(have, got(f))
		}
		if diff := cmp.Diff(tt.want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestTDataGenerations reads the older file if the newer one is damaged.
func TestTDataGenerations(t *testing.T) {
	t.Parallel()
	dir := tdataOf(t, qt(1, 0, 0), withKey(t, 2, 2), nil)
	dir["key_data1"] = dir["key_datas"]
	dir["key_datas"] = &fstest.MapFile{Data: []byte("TDF$, cut")}
	if found, err := readTData(dir, nil); err != nil || len(found) != 1 {
		t.Errorf("read %d, %v", len(found), err)
	}
}

// FuzzTData changes what is inside, which is not read before its signatures are right.
func FuzzTData(f *testing.F) {
	f.Add(qt(1, 0, 0), withKey(f, 2, 2), qt(qt(1, 0, qt(-1, 1, 2, 0, 443, []byte("149.154.167.50"), []byte{}))))
	f.Add(qt(-1, 0), desktopOf(2, -1), qt(qt(1, 1, qt(1))))
	f.Add(qt(2, 0, 1), desktopOf(10002, 0), []byte{})
	f.Fuzz(func(t *testing.T, list, account, config []byte) {
		found, err := readTData(tdataOf(t, list, account, config), nil)
		if (err == nil) != (len(found) > 0) {
			t.Errorf("read %d, %v", len(found), err)
		}
		for _, one := range found {
			if one.Session.Key.IsZero() || one.UserID < 0 {
				t.Errorf("read %+v", one)
			}
		}
	})
}

// FuzzTDataFile changes a file as a whole.
func FuzzTDataFile(f *testing.F) {
	dir := tdataOf(f, qt(1, 0, 0), withKey(f, 2, 2), nil)
	f.Add(dir["key_datas"].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := fstest.MapFS{"key_datas": signedFile(data), "key_data0": {Data: data}}
		if found, err := readTData(dir, nil); err == nil {
			t.Errorf("read %d of a folder without accounts", len(found))
		}
	})
}
