package handlers

import (
	"cmp"
	"image"
	_ "image/jpeg" // for DecodeConfig
	_ "image/png"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tljson"
)

// What Telegram takes as a photo. Source: core.telegram.org/bots/api#sendphoto.
const (
	maxPhoto      = 10 << 20 // bytes
	maxPhotoSides = 10_000   // width and height together
	maxPhotoRatio = 20
)

// photoTypes are the formats of photos, each with the end of a name: Telegram
// refuses another one (PHOTO_EXT_INVALID).
var photoTypes = map[string][]string{
	"image/jpeg": {".jpg", ".jpeg"},
	"image/png":  {".png"},
	"image/webp": {".webp"},
}

// fileKind is what a file is sent as.
type fileKind struct {
	name  string
	mime  string
	photo bool
}

// kindOf decides what a file is sent as. A picture that Telegram takes is a photo,
// unless the producer has given it another mime type.
func kindOf(f *tljson.File, src *source) (fileKind, error) {
	head := make([]byte, 512) // as much as DetectContentType looks at
	n, err := io.ReadFull(src, head)
	if err != nil && err != io.ErrUnexpectedEOF {
		return fileKind{}, err
	}
	seen := bare(http.DetectContentType(head[:n]))
	k := fileKind{name: cmp.Or(f.Name, src.name, "file")}
	k.mime = cmp.Or(f.MimeType, bare(mime.TypeByExtension(path.Ext(k.name))), seen)
	ends := photoTypes[seen]
	_, wanted := photoTypes[cmp.Or(f.MimeType, seen)]
	if f.Media && wanted && ends != nil && src.size <= maxPhoto {
		if k.photo, err = photoSized(seen, src); err != nil {
			return fileKind{}, err
		}
	}
	if ends != nil && (k.photo && !endsIn(k.name, ends) || path.Ext(k.name) == "") {
		k.name += ends[0]
	}
	_, err = src.Seek(0, io.SeekStart)
	return k, err
}

// photoSized tells whether a picture has the measures of a photo. Those of WebP are
// left to Telegram.
func photoSized(mime string, src *source) (bool, error) {
	if mime == "image/webp" {
		return true, nil
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	c, _, err := image.DecodeConfig(src)
	if err != nil {
		return false, nil // a broken picture is still a document
	}
	long, short := max(c.Width, c.Height), min(c.Width, c.Height)
	return short > 0 && long+short <= maxPhotoSides && long <= maxPhotoRatio*short, nil
}

func endsIn(name string, ends []string) bool {
	for _, end := range ends {
		if strings.EqualFold(path.Ext(name), end) {
			return true
		}
	}
	return false
}

// bare is a mime type without parameters.
func bare(t string) string {
	t, _, _ = strings.Cut(t, ";")
	return strings.TrimSpace(t)
}

// media is the file as an InputMedia.
func (k fileKind) media(in tg.InputFileClass) tg.InputMediaClass {
	if k.photo {
		return &tg.InputMediaUploadedPhoto{File: in}
	}
	return &tg.InputMediaUploadedDocument{
		File: in, MimeType: k.mime,
		Attributes: []tg.DocumentAttributeClass{&tg.DocumentAttributeFilename{FileName: k.name}},
	}
}
