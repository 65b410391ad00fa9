package tgsim

import (
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// skipWrapper reads a wrapper that changes nothing here up to its query; false
// when id is none. See core.telegram.org/api/invoking and
// core.telegram.org/api/takeout.
func skipWrapper(id uint32, b *bin.Buffer) (bool, error) {
	words := 0
	switch id {
	case tg.InvokeWithTakeoutRequestTypeID:
		b.Skip(4)
		_, err := b.Long()
		return true, err
	case tg.InvokeWithMessagesRangeRequestTypeID:
		b.Skip(4)
		var r tg.MessageRange
		return true, r.Decode(b)
	case tg.InvokeWithBusinessConnectionRequestTypeID, tg.InvokeWithReCaptchaRequestTypeID:
		words = 1
	case tg.InvokeWithGooglePlayIntegrityRequestTypeID, tg.InvokeWithApnsSecretRequestTypeID:
		words = 2
	default:
		return false, nil
	}
	b.Skip(4)
	for range words {
		if _, err := b.String(); err != nil {
			return true, err
		}
	}
	return true, nil
}
