package tgsim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// savePart is one part of a file: of how many bytes, and in a big file of how many
// parts, -1 if that is not known.
type savePart struct{ n, size, total int }

func (p savePart) save(t *testing.T, c *client, id int64) error {
	t.Helper()
	content := bytes.Repeat([]byte{byte(p.n)}, p.size)
	var err error
	if p.total != 0 {
		_, err = c.UploadSaveBigFilePart(timeout(t), &tg.UploadSaveBigFilePartRequest{FileID: id, FilePart: p.n, FileTotalParts: p.total, Bytes: content})
	} else {
		_, err = c.UploadSaveFilePart(timeout(t), &tg.UploadSaveFilePartRequest{FileID: id, FilePart: p.n, Bytes: content})
	}
	return err
}

func TestFileParts(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, annSess := user(t, srv, "ann")
	a := connect(t, srv, annSess)
	const kib = 1 << 10
	tests := []struct {
		name  string
		parts []savePart // all but the last are taken
		want  string     // of the last
	}{
		{"one small part", []savePart{{0, 1, 0}}, ""},
		{"the last part is shorter", []savePart{{0, kib, 0}, {1, kib, 0}, {2, 5, 0}}, ""},
		{"the last part comes first", []savePart{{2, 5, 0}, {0, kib, 0}, {1, kib, 0}}, ""},
		{"a part twice", []savePart{{0, kib, 0}, {0, kib, 0}, {1, 5, 0}, {1, 5, 0}}, ""},
		{"end not known", []savePart{{0, kib, -1}, {1, 5, 2}}, ""},
		{"empty", []savePart{{0, 0, 0}}, "FILE_PART_EMPTY"},
		{"too big", []savePart{{0, 513 * kib, 0}}, "FILE_PART_TOO_BIG"},
		{"number too high", []savePart{{4000, 1, 0}}, "FILE_PART_INVALID"},
		{"negative number", []savePart{{-1, 1, 0}}, "FILE_PART_INVALID"},
		{"behind the end", []savePart{{2, 1, 2}}, "FILE_PART_INVALID"},
		{"too many parts", []savePart{{0, kib, 4001}}, "FILE_PARTS_INVALID"},
		{"another end", []savePart{{0, kib, 3}, {1, kib, 4}}, "FILE_PARTS_INVALID"},
		{"small and big", []savePart{{0, kib, 0}, {1, kib, 2}}, "FILE_PARTS_INVALID"},
		{"not in KiB", []savePart{{0, 1000, 2}}, "FILE_PART_SIZE_INVALID"},
		{"no divisor of 512 KiB", []savePart{{1, 5, 0}, {0, 3 * kib, 0}}, "FILE_PART_SIZE_INVALID"},
		{"a short part was not the last", []savePart{{0, 5, 0}, {1, 5, 0}}, "FILE_PART_SIZE_INVALID"},
		{"two sizes", []savePart{{0, kib, 0}, {2, kib, 0}, {1, 2 * kib, 0}}, "FILE_PART_SIZE_CHANGED"},
		{"the last is longer", []savePart{{0, kib, 0}, {1, 2 * kib, 0}}, "FILE_PART_SIZE_CHANGED"},
	}
	for i, tt := range tests {
		last := len(tt.parts) - 1
		for _, p := range tt.parts[:last] {
			ok(t, p.save(t, a, int64(i+1)))
		}
		err := tt.parts[last].save(t, a, int64(i+1))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if !tgerr.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	quiet(t, srv)
}

func TestFilesAreSent(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	a, b := connect(t, srv, annSess), connect(t, srv, bobSess)
	ctx := timeout(t)
	to := &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}
	for _, p := range []savePart{{0, 1 << 10, 0}, {1, 5, 0}} {
		ok(t, p.save(t, a, 1))
	}
	whole := &tg.InputFile{ID: 1, Parts: 2, Name: "a.PNG"}
	first, second := sha256.Sum256(make([]byte, 1<<10)), sha256.Sum256(bytes.Repeat([]byte{1}, 5))
	digest := sha256.Sum256(append(first[:], second[:]...))
	want := []tgsim.File{{ID: 1, Parts: 2, PartSize: 1 << 10, Size: 1<<10 + 5, Digest: hex.EncodeToString(digest[:])}}
	if got := srv.Files(ann.ID); !slices.Equal(got, want) {
		t.Errorf("files %+v, want %+v", got, want)
	}

	for want, file := range map[string]tg.InputFileClass{
		"FILE_PARTS_INVALID":   &tg.InputFile{ID: 1, Parts: 1, Name: "a.png"},
		"FILE_PART_MISSING":    &tg.InputFile{ID: 1, Parts: 3, Name: "a.png"}, // FILE_PART_2_MISSING
		"MD5_CHECKSUM_INVALID": &tg.InputFile{ID: 1, Parts: 2, Name: "a.png", MD5Checksum: "xyz"},
		"PHOTO_EXT_INVALID":    &tg.InputFile{ID: 1, Parts: 2, Name: "a"},
	} {
		_, err := a.MessagesSendMedia(ctx, &tg.MessagesSendMediaRequest{Peer: to, Media: &tg.InputMediaUploadedPhoto{File: file}, RandomID: 1})
		refused(t, err, want)
	}
	_, err := a.MessagesSendMedia(ctx, &tg.MessagesSendMediaRequest{Peer: to, Media: &tg.InputMediaUploadedPhoto{File: &tg.InputFileBig{ID: 1, Parts: 2, Name: "a.png"}}, RandomID: 1})
	refused(t, err, "FILE_PARTS_INVALID")

	req := &tg.MessagesSendMediaRequest{Peer: to, Media: &tg.InputMediaUploadedPhoto{File: whole}, Message: "look", RandomID: 1}
	must(a.MessagesSendMedia(ctx, req))(t)
	u, _ := wait[*tg.UpdateNewMessage](t, b)
	m := u.Message.(*tg.Message)
	if photo, ok := m.Media.(*tg.MessageMediaPhoto); !ok || m.Message != "look" || photo.Photo.(*tg.Photo).ID == 0 {
		t.Errorf("bob got %+v", m)
	}
	must(a.MessagesSendMedia(ctx, req))(t)
	calls := srv.Calls(tgsim.Filter{Account: ann.ID, Method: "messages.sendMedia"})
	if last := calls[len(calls)-1]; !last.Duplicate || last.Effect || last.Params.Message != "look" || last.Params.RandomID != 1 {
		t.Errorf("the repeat is recorded as %+v", last)
	}
	quiet(t, srv)
}

func TestAlbum(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, annSess := user(t, srv, "ann")
	a := connect(t, srv, annSess)
	ctx := timeout(t)
	self := &tg.InputPeerSelf{}
	ok(t, savePart{0, 5, 0}.save(t, a, 1))
	fresh := &tg.InputMediaUploadedDocument{File: &tg.InputFile{ID: 1, Parts: 1, Name: "a.txt"}, MimeType: "text/plain"}
	album := func(media ...tg.InputMediaClass) (tg.UpdatesClass, error) {
		req := &tg.MessagesSendMultiMediaRequest{Peer: self}
		for i, m := range media {
			req.MultiMedia = append(req.MultiMedia, tg.InputSingleMedia{Media: m, RandomID: int64(i + 1)})
		}
		return a.MessagesSendMultiMedia(ctx, req)
	}
	_, err := album(fresh)
	refused(t, err, "MEDIA_INVALID")
	doc := must(a.MessagesUploadMedia(ctx, &tg.MessagesUploadMediaRequest{Peer: self, Media: fresh}))(t).(*tg.MessageMediaDocument).Document.(*tg.Document)
	known := &tg.InputMediaDocument{ID: doc.AsInput()}
	if updates := must(album(known, known))(t).(*tg.Updates).Updates; len(updates) != 4 {
		t.Errorf("an album of two brings %v", updates)
	}
	for name, change := range map[string]func(*tg.InputDocument){
		"MEDIA_EMPTY":            func(d *tg.InputDocument) { d.AccessHash++ },
		"FILE_REFERENCE_EMPTY":   func(d *tg.InputDocument) { d.FileReference = nil },
		"FILE_REFERENCE_EXPIRED": func(d *tg.InputDocument) { d.FileReference = []byte("old") },
	} {
		wrong := doc.AsInput()
		change(wrong)
		_, err := album(&tg.InputMediaDocument{ID: wrong})
		refused(t, err, name)
	}
	_, err = album(slices.Repeat([]tg.InputMediaClass{known}, 11)...)
	refused(t, err, "MULTI_MEDIA_TOO_LONG")
	quiet(t, srv)
}
