package tgsim

import (
	"bytes"
	"cmp"
	crand "crypto/rand"
	"encoding/binary"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

const (
	maxCaption = 1024 // UTF-16 units, as in config.caption_length_max
	maxAlbum   = 10   // core.telegram.org/api/files#albums-grouped-media
)

// media is a photo or a document that Telegram has, for everybody under the same
// access hash. It is immutable.
type media struct {
	photo     bool
	id, hash  int64
	reference []byte
	date      int
	size      int
	mime      string
	name      string
}

// attachment is what a message has besides its text. The zero value is nothing.
type attachment struct {
	media *media
	group int64 // of an album
}

func (a attachment) attach(out *tg.Message) {
	if a.media != nil {
		out.Media = a.media.tg()
	}
	if a.group != 0 {
		out.SetGroupedID(a.group)
	}
}

// tg is a value of its own for each encoding: gotd sets flags as it encodes.
func (m *media) tg() tg.MessageMediaClass {
	if m.photo {
		out := &tg.MessageMediaPhoto{}
		out.SetPhoto(&tg.Photo{
			ID: m.id, AccessHash: m.hash, FileReference: m.reference, Date: m.date, DCID: 2,
			Sizes: []tg.PhotoSizeClass{&tg.PhotoSize{Type: "x", W: 800, H: 600, Size: m.size}},
		})
		return out
	}
	out := &tg.MessageMediaDocument{}
	out.SetDocument(&tg.Document{
		ID: m.id, AccessHash: m.hash, FileReference: m.reference, Date: m.date, DCID: 2,
		MimeType: m.mime, Size: int64(m.size),
		Attributes: []tg.DocumentAttributeClass{&tg.DocumentAttributeFilename{FileName: m.name}},
	})
	return out
}

// add gives a photo or document its identity.
func (f *files) add(m media) *media {
	var b [24]byte
	_, _ = crand.Read(b[:]) // it does not fail
	m.id, m.hash, m.reference = int64(binary.BigEndian.Uint64(b[:])>>1), int64(binary.BigEndian.Uint64(b[8:])), b[16:]
	m.date = int(time.Now().Unix())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.media = append(f.media, &m)
	f.media = f.media[max(0, len(f.media)-keepMedia):]
	return &m
}

var errMedia = &rpcError{400, "MEDIA_EMPTY"}

// known is a photo or document that Telegram has.
func (f *files) known(photo bool, id, hash int64, reference []byte) (*media, *rpcError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.media, func(m *media) bool { return m.photo == photo && m.id == id && m.hash == hash })
	switch {
	case i < 0:
		return nil, errMedia
	case len(reference) == 0:
		return nil, &rpcError{400, "FILE_REFERENCE_EMPTY"}
	case !bytes.Equal(f.media[i].reference, reference):
		return nil, &rpcError{400, "FILE_REFERENCE_EXPIRED"}
	}
	return f.media[i], nil
}

// simulated tells whether the simulator knows a kind of media.
func simulated(in tg.InputMediaClass) bool {
	switch in.(type) {
	case *tg.InputMediaUploadedPhoto, *tg.InputMediaUploadedDocument, *tg.InputMediaPhoto, *tg.InputMediaDocument:
		return true
	}
	return false
}

// input is the photo or document that a request names; a file that was uploaded
// becomes one. Errors are those of core.telegram.org/method/messages.sendMedia.
func (f *files) input(user int64, in tg.InputMediaClass) (*media, *rpcError) {
	switch in := in.(type) {
	case *tg.InputMediaUploadedPhoto:
		file, failed := f.complete(user, in.File)
		if failed != nil {
			return nil, failed
		}
		switch strings.ToLower(path.Ext(file.name)) {
		case ".jpg", ".jpeg", ".png", ".webp", ".gif":
		default:
			return nil, &rpcError{400, "PHOTO_EXT_INVALID"}
		}
		if file.size > maxSmall {
			return nil, &rpcError{400, "PHOTO_SAVE_FILE_INVALID"}
		}
		return f.add(media{photo: true, size: file.size}), nil
	case *tg.InputMediaUploadedDocument:
		file, failed := f.complete(user, in.File)
		if failed != nil {
			return nil, failed
		}
		for _, a := range in.Attributes {
			if named, ok := a.(*tg.DocumentAttributeFilename); ok {
				file.name = named.FileName
			}
		}
		return f.add(media{size: file.size, mime: cmp.Or(in.MimeType, "application/octet-stream"), name: file.name}), nil
	case *tg.InputMediaPhoto:
		if id, ok := in.ID.(*tg.InputPhoto); ok {
			return f.known(true, id.ID, id.AccessHash, id.FileReference)
		}
	case *tg.InputMediaDocument:
		if id, ok := in.ID.(*tg.InputDocument); ok {
			return f.known(false, id.ID, id.AccessHash, id.FileReference)
		}
	}
	return nil, errMedia
}

// uploadMedia: core.telegram.org/method/messages.uploadMedia.
func (s *Server) uploadMedia(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesUploadMediaRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if !simulated(req.Media) {
		return s.randomAnswer(c)
	}
	w := s.world
	w.mu.RLock()
	_, failed := w.resolveLocked(user, req.Peer)
	w.mu.RUnlock()
	if failed != nil {
		return nil, failed
	}
	m, failed := w.files.input(user, req.Media)
	if failed != nil {
		return nil, failed
	}
	rec.Effect = true
	return m.tg(), nil
}

// sendMedia: core.telegram.org/method/messages.sendMedia, for photos and documents.
func (s *Server) sendMedia(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesSendMediaRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if !simulated(req.Media) {
		return s.randomAnswer(c)
	}
	text := tg.MessagesSendMessageRequest{
		Peer: req.Peer, Message: req.Message, RandomID: req.RandomID, Entities: req.Entities, Silent: req.Silent, ReplyTo: req.ReplyTo,
	}
	describeSend(&rec.Params, &text)
	if failed := checkCaption(req.Message); failed != nil {
		return nil, failed
	}
	if req.ScheduleDate != 0 {
		return nil, &rpcError{400, "SCHEDULE_DATE_INVALID"}
	}
	m, failed := s.world.files.input(user, req.Media)
	if failed != nil {
		return nil, failed
	}
	return s.sendAttached(c, user, rec, &text, attachment{media: m})
}

// sendAttached stores one message and tells everybody concerned.
func (s *Server) sendAttached(c *call, user int64, rec *Call, req *tg.MessagesSendMessageRequest, a attachment) (*tg.Updates, *rpcError) {
	_, copies, dup, failed := s.world.send(user, req, req.Message, a, rec.Time)
	if failed != nil {
		return nil, failed
	}
	rec.Effect, rec.Duplicate = rec.Effect || !dup, dup
	rec.Params.MessageID = copies[0].msg.id
	if !dup {
		s.push(copies, c.sess)
	}
	return s.world.updates(copies[0], true), nil
}

func checkCaption(text string) *rpcError {
	if len(text) > maxCaption && len(utf16.Encode([]rune(text))) > maxCaption {
		return &rpcError{400, "MEDIA_CAPTION_TOO_LONG"}
	}
	return nil
}

// sendMultiMedia: core.telegram.org/method/messages.sendMultiMedia. Its elements
// have been through messages.uploadMedia.
func (s *Server) sendMultiMedia(c *call, user int64, rec *Call) (bin.Encoder, *rpcError) {
	var req tg.MessagesSendMultiMediaRequest
	if err := decode(c, &req); err != nil {
		return nil, err
	}
	if len(req.MultiMedia) == 0 {
		return nil, errMedia
	}
	if len(req.MultiMedia) > maxAlbum {
		return nil, &rpcError{400, "MULTI_MEDIA_TOO_LONG"}
	}
	var album []attachment
	for _, single := range req.MultiMedia {
		switch single.Media.(type) {
		case *tg.InputMediaUploadedPhoto, *tg.InputMediaUploadedDocument:
			return nil, &rpcError{400, "MEDIA_INVALID"}
		}
		if failed := checkCaption(single.Message); failed != nil {
			return nil, failed
		}
		m, failed := s.world.files.input(user, single.Media)
		if failed != nil {
			return nil, failed
		}
		album = append(album, attachment{media: m, group: req.MultiMedia[0].RandomID | 1})
	}
	out := &tg.Updates{}
	for i, single := range req.MultiMedia {
		one, failed := s.sendAttached(c, user, rec, &tg.MessagesSendMessageRequest{
			Peer: req.Peer, Message: single.Message, RandomID: single.RandomID, Entities: single.Entities, Silent: req.Silent, ReplyTo: req.ReplyTo,
		}, album[i])
		if failed != nil {
			return nil, failed
		}
		one.Updates = append(out.Updates, one.Updates...)
		out = one
	}
	return out, nil
}
