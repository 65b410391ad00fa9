package batching

import (
	"bytes"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"pgregory.net/rapid"
)

// TestSeal has gotd's cipher read what was sealed, for every length.
func TestSeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var key crypto.Key
		copy(key[:], rapid.SliceOfN(rapid.Byte(), len(key), len(key)).Draw(t, "key"))
		// Messages of MTProto are whole words.
		body := bytes.Repeat([]byte("word"), rapid.IntRange(1, 300).Draw(t, "words"))
		c := &Conn{cipher: crypto.NewClientCipher(crypto.DefaultRand()), key: key.WithID()}
		want := crypto.EncryptedMessageData{
			Salt: 1, SessionID: 2, MessageID: 4, SeqNo: 6,
			MessageDataLen: int32(len(body)), MessageDataWithPadding: body,
		}
		var b bin.Buffer
		if err := c.seal(want, &b); err != nil {
			t.Fatal(err)
		}
		got, err := crypto.NewServerCipher(crypto.DefaultRand()).DecryptFromBuffer(c.key, &b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Data(), body) || got.Salt != 1 || got.SessionID != 2 || got.MessageID != 4 || got.SeqNo != 6 {
			t.Errorf("sealed %+v, read %+v", want, got)
		}
		padding := len(got.MessageDataWithPadding) - len(body)
		if padding < minPadding || padding >= minPadding+16 {
			t.Errorf("%d bytes of padding behind %d", padding, len(body))
		}
	})
}
