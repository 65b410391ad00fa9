package sessionfile

import (
	"crypto/aes"
	"crypto/md5" // what Telegram Desktop signs its files with
	"crypto/pbkdf2"
	"crypto/sha1" // and what MTProto 1 makes message keys with
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/gotd/ige"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
)

const (
	desktopMagic = "TDF$"
	maxTData     = 1 << 20 // bytes of one of its files
)

// desktopFile reads one of Telegram Desktop's files: magic, version, content, and MD5 of
// the content, its length, the version and the magic. Of several generations it takes
// the first that is whole. Source: storage_file_utilities.cpp, ReadFile.
func desktopFile(root fs.FS, name string) (*qtReader, error) {
	var first error
	for _, suffix := range "s01" {
		content, err := desktopGeneration(root, name+string(suffix))
		if err == nil {
			return &qtReader{content}, nil
		}
		if first == nil || errors.Is(first, fs.ErrNotExist) && !errors.Is(err, fs.ErrNotExist) {
			first = err
		}
	}
	return nil, first
}

func desktopGeneration(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, plain(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTData+1))
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", name, plain(err))
	}
	const head = len(desktopMagic) + 4
	switch {
	case len(data) > maxTData:
		return nil, fmt.Errorf("file %s has more than %d MiB, so it is damaged", name, maxTData>>20)
	case len(data) < head+md5.Size || !strings.HasPrefix(string(data[:head]), desktopMagic):
		return nil, fmt.Errorf("file %s is none of Telegram Desktop's, or it was cut", name)
	}
	end := len(data) - md5.Size
	signed := binary.LittleEndian.AppendUint32(data[head:end:end], uint32(end-head))
	signed = append(signed, data[len(desktopMagic):head]...)
	signed = append(signed, desktopMagic...)
	if sum := md5.Sum(signed); string(sum[:]) != string(data[end:]) {
		return nil, fmt.Errorf("file %s is damaged: its checksum is another", name)
	}
	return data[head:end], nil
}

// desktopName is the name of a file on disk. Source: storage_file_utilities.cpp, ToFilePart.
func desktopName(of string) string {
	sum := md5.Sum([]byte(of))
	for i := range sum {
		sum[i] = sum[i]<<4 | sum[i]>>4
	}
	return strings.ToUpper(hex.EncodeToString(sum[:8]))
}

// desktopKey is the key that a passcode makes. Source: storage_file_utilities.cpp,
// CreateLocalKey.
func desktopKey(passcode, salt []byte) (key crypto.Key, err error) {
	rounds := 1
	if len(passcode) > 0 {
		rounds = 100_000
	}
	h := sha512.New()
	h.Write(salt)
	h.Write(passcode)
	h.Write(salt)
	b, err := pbkdf2.Key(sha512.New, string(h.Sum(nil)), salt, rounds, len(key))
	copy(key[:], b)
	return key, err
}

var errOtherKey = errors.New("it was encrypted with another key")

// desktopDecrypt decrypts what another array holds: the first 16 bytes of the SHA-1 of
// the content, and the content, which begins with its length. Source:
// storage_file_utilities.cpp, DecryptLocal.
func desktopDecrypt(encrypted []byte, key crypto.Key) (*qtReader, error) {
	var msgKey bin.Int128
	if len(encrypted) < 2*aes.BlockSize || len(encrypted)%aes.BlockSize != 0 {
		return nil, errDamaged
	}
	encrypted = encrypted[copy(msgKey[:], encrypted):]
	aesKey, iv := crypto.OldKeys(key, msgKey, crypto.Server)
	block, err := aes.NewCipher(aesKey[:])
	if err != nil {
		return nil, err
	}
	content := make([]byte, len(encrypted))
	ige.DecryptBlocks(block, iv[:], content, encrypted)
	if sum := sha1.Sum(content); string(sum[:len(msgKey)]) != string(msgKey[:]) {
		return nil, errOtherKey
	}
	n := binary.LittleEndian.Uint32(content)
	if n < 4 || uint64(n) > uint64(len(content)) {
		return nil, errDamaged
	}
	return &qtReader{content[4:n]}, nil
}

// qtReader reads what a QDataStream has written.
type qtReader struct{ left []byte }

func (r *qtReader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.left)) {
		return nil, errDamaged
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b, nil
}

// array reads a QByteArray; null is empty.
func (r *qtReader) array() ([]byte, error) {
	n, err := r.uint32()
	if err != nil || n == 1<<32-1 {
		return nil, err
	}
	return r.take(uint64(n))
}

func (r *qtReader) uint32() (uint32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (r *qtReader) uint64() (uint64, error) {
	b, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// uint32s reads one number into each of to.
func (r *qtReader) uint32s(to ...*uint32) error {
	for _, v := range to {
		var err error
		if *v, err = r.uint32(); err != nil {
			return err
		}
	}
	return nil
}

// decrypt reads an array and decrypts it.
func (r *qtReader) decrypt(key crypto.Key) (*qtReader, error) {
	b, err := r.array()
	if err != nil {
		return nil, err
	}
	return desktopDecrypt(b, key)
}
