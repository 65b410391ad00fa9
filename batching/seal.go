package batching

import (
	"crypto/aes"
	"fmt"
	"io"

	"github.com/gotd/ige"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
)

// minPadding is the least random bytes behind a message. Source:
// core.telegram.org/mtproto/description, Encrypted Message: encrypted_data.
const minPadding = 12

// lone encrypts a message that goes by itself into b, with up to 240 random bytes
// more than there have to be: its length would tell which call it is.
func (c *Conn) lone(data crypto.EncryptedMessageData, b *bin.Buffer) error {
	return c.cipher.Encrypt(c.key, data, b)
}

// seal encrypts a container into b, with the least padding: its length, that of all
// members together, tells little of any.
func (c *Conn) seal(data crypto.EncryptedMessageData, b *bin.Buffer) error {
	b.Reset()
	if err := data.EncodeWithoutCopy(b); err != nil {
		return err
	}
	n := len(b.Buf)
	padded := (n + minPadding + aes.BlockSize - 1) / aes.BlockSize * aes.BlockSize
	b.Buf = append(b.Buf, make([]byte, padded-n)...)
	if _, err := io.ReadFull(c.cipher.Rand(), b.Buf[n:]); err != nil {
		return fmt.Errorf("pad: %w", err)
	}
	m := crypto.EncryptedMessage{
		AuthKeyID:     c.key.ID,
		MsgKey:        crypto.MessageKey(c.key.Value, b.Buf, crypto.Client),
		EncryptedData: make([]byte, padded),
	}
	key, iv := crypto.Keys(c.key.Value, m.MsgKey, crypto.Client)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	ige.EncryptBlocks(block, iv[:], m.EncryptedData, b.Buf)
	b.Reset()
	return m.Encode(b)
}
