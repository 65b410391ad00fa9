package tgsim

import (
	"strings"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
)

// Bounds of what a call may be wrapped in.
const (
	maxWrappers = 16  // how deep
	maxAfter    = 256 // references of invokeAfterMsgs
)

// unwrapped is a call without what is around it, see
// core.telegram.org/api/invoking.
type unwrapped struct {
	method    uint32
	body      []byte  // begins with method
	after     []int64 // of invokeAfterMsg(s)
	noUpdates bool
	refused   *rpcError
}

var errFetch = &rpcError{400, "INPUT_FETCH_ERROR"}

// unwrap takes wrappers off; invokeWithLayer and initConnection are remembered
// for the key.
func unwrap(k *authKey, body []byte) unwrapped {
	u := unwrapped{}
	b := &bin.Buffer{Buf: body}
	for range maxWrappers {
		id, err := b.PeekID()
		if err != nil {
			u.refused = errFetch
			return u
		}
		u.method, u.body = id, b.Buf
		switch id {
		case proto.GZIPTypeID:
			data, ok := gunzip(b.Buf)
			if !ok {
				u.refused = errFetch
				return u
			}
			b = &bin.Buffer{Buf: data}
		case tg.InvokeWithLayerRequestTypeID:
			b.Skip(4)
			layer, err := b.Int()
			if err != nil || layer <= 0 {
				u.refused = &rpcError{400, "CONNECTION_LAYER_INVALID"}
				return u
			}
			k.setLayer(layer)
		case tg.InitConnectionRequestTypeID:
			b.Skip(4)
			var told Client
			if told, u.refused = readInitConnection(b); u.refused != nil {
				return u
			}
			k.setClient(told)
		case tg.InvokeWithoutUpdatesRequestTypeID:
			b.Skip(4)
			u.noUpdates = true
		case tg.InvokeAfterMsgRequestTypeID:
			b.Skip(4)
			ref, err := b.Long()
			if err != nil {
				u.refused = errFetch
				return u
			}
			u.after = append(u.after, ref)
		case tg.InvokeAfterMsgsRequestTypeID:
			b.Skip(4)
			n, err := b.VectorHeader()
			if err != nil || n > maxAfter {
				u.refused = errFetch
				return u
			}
			for range n {
				ref, err := b.Long()
				if err != nil {
					u.refused = errFetch
					return u
				}
				u.after = append(u.after, ref)
			}
		default:
			more, err := skipWrapper(id, b)
			if err != nil {
				u.refused = errFetch
				return u
			}
			if !more {
				u.method, u.body = renew(id, b.Buf)
				return u
			}
		}
	}
	u.refused = errFetch
	return u
}

// readInitConnection reads initConnection up to the query.
func readInitConnection(b *bin.Buffer) (Client, *rpcError) {
	var (
		flags bin.Fields
		c     Client
		err   error
	)
	if err := flags.Decode(b); err != nil {
		return c, errFetch
	}
	if c.APIID, err = b.Int(); err != nil {
		return c, errFetch
	}
	for _, to := range []*string{&c.DeviceModel, &c.SystemVersion, &c.AppVersion, &c.SystemLangCode, &c.LangPack, &c.LangCode} {
		text, err := b.String()
		if err != nil {
			return c, errFetch
		}
		*to = clip(text)
	}
	if flags.Has(0) {
		var proxy tg.InputClientProxy
		if err := proxy.Decode(b); err != nil {
			return c, errFetch
		}
	}
	if flags.Has(1) {
		if _, err := tg.DecodeJSONValue(b); err != nil {
			return c, errFetch
		}
	}
	if c.APIID <= 0 {
		return c, &rpcError{400, "CONNECTION_API_ID_INVALID"}
	}
	return c, nil
}

// methodNames maps constructors to TL names, without the "#id".
var methodNames = sync.OnceValue(func() map[uint32]string {
	return bareNames(tg.TypesMap())
})

func bareNames(names map[uint32]string) map[uint32]string {
	for id, name := range names {
		names[id], _, _ = strings.Cut(name, "#")
	}
	return names
}

func methodName(id uint32) string {
	if name, ok := methodNames()[id]; ok {
		return name
	}
	return "unknown"
}

var knownNames = sync.OnceValue(tg.NamesMap)

func knownMethod(name string) bool {
	_, ok := knownNames()[name]
	return ok
}
