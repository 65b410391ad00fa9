package tljson

import (
	"reflect"

	"github.com/go-faster/jx"
	"github.com/gotd/td/tg"
)

// File is a file that has to be uploaded before the call. It comes from exactly one
// of Path, URL and Data.
type File struct {
	At    string // where it is in the call: params.media
	Media bool   // it stands for an InputMedia, or else for an InputFile
	// Album tells that the call takes only media that Telegram has already: it is
	// part of a messages.sendMultiMedia.
	Album bool

	Path     string
	URL      string
	Data     []byte // not nil if it was given, as base64
	Name     string // as receivers see it; may be ""
	MimeType string // may be ""

	at reflect.Value
}

// file reads an object {"_": "file"}.
func (d *decoder) file(c *class, v reflect.Value) error {
	f := File{At: d.where(), Media: c.media, at: v}
	obj, err := d.js.ObjIter()
	if err != nil {
		return err
	}
	var sources []string
	for obj.Next() {
		key := string(obj.Key())
		into, ok := map[string]*string{"path": &f.Path, "url": &f.URL, "name": &f.Name, "mime_type": &f.MimeType}[key]
		d.push(step{name: key})
		switch {
		case key == "_":
			if err := d.js.Skip(); err != nil {
				return err
			}
			d.pop()
			continue
		case !ok && key != "base64":
			return d.fail(CodeUnknownField, "is no field of a file; it has base64, mime_type, name, path, url")
		case d.js.Next() != jx.String:
			return d.wrong("a string")
		}
		text, err := d.js.Str()
		if err != nil {
			return err
		}
		if !ok {
			if f.Data, err = fromBase64(text); err != nil {
				return d.fail(CodeInvalidBase64, "wants base64 in a string, got %s", quote(text))
			}
		} else {
			*into = text
		}
		if key == "path" || key == "url" || key == "base64" {
			if text == "" {
				return d.fail(CodeMissingField, "is empty")
			}
			sources = append(sources, key)
		}
		d.pop()
	}
	if err := obj.Err(); err != nil {
		return err
	}
	if len(sources) != 1 {
		return d.fail(CodeMissingField, "a file has exactly one of path, url and base64, this one has %s", list(sources))
	}
	for _, s := range d.path {
		f.Album = f.Album || f.Media && s.name == "multi_media"
	}
	d.req.Files = append(d.req.Files, f)
	if c.media {
		v.Set(reflect.ValueOf(&tg.InputMediaEmpty{}))
	} else {
		v.Set(reflect.ValueOf(&tg.InputFile{}))
	}
	return nil
}

// SetFile puts an uploaded file in its place.
func (f *File) SetFile(in tg.InputFileClass) { f.at.Set(reflect.ValueOf(in)) }

// SetMedia puts media in its place.
func (f *File) SetMedia(in tg.InputMediaClass) { f.at.Set(reflect.ValueOf(in)) }
