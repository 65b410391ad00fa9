package tgsim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Rules of parts, for accounts without Premium.
// Source: core.telegram.org/api/files#uploading-files.
const (
	partUnit = 1 << 10   // a part's size is a multiple of it
	partMax  = 512 << 10 // and divides it
	maxParts = 4000
	maxSmall = 10 << 20 // larger files are inputFileBig
)

// Bounds of what is remembered, the latest first.
const (
	keepParts = 1 << 17 // of all uploads
	keepMedia = 4096    // photos and documents
)

// File is what an account has uploaded, as far as it has come. Its content is not
// kept.
type File struct {
	ID       int64
	Big      bool
	Parts    int // that have come
	PartSize int // of all but the last
	Size     int
	Digest   string // hex of the SHA-256 of the parts' SHA-256, in order
}

// filePart is what is kept of a part.
type filePart struct {
	size int
	sum  [sha256.Size]byte
}

// upload is a file whose parts come.
type upload struct {
	user, id int64
	big      bool
	total    int // parts, as a big file's say; 0 = not known
	last     int // the greatest number of a part
	parts    map[int]filePart
}

// files is what was uploaded and what became of it. Its zero value is empty.
type files struct {
	mu      sync.Mutex // guards below
	uploads []*upload  // in the order they began
	parts   int        // of these
	media   []*media   // immutable each
}

// Files lists what a user has uploaded, in the order it began.
func (s *Server) Files(userID int64) []File {
	f := &s.world.files
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []File
	for _, u := range f.uploads {
		if u.user == userID {
			out = append(out, u.describe())
		}
	}
	return out
}

func (u *upload) describe() File {
	out := File{ID: u.id, Big: u.big, Parts: len(u.parts), PartSize: u.parts[0].size}
	sums := sha256.New()
	for i := range u.last + 1 {
		p := u.parts[i]
		out.Size += p.size
		sums.Write(p.sum[:])
	}
	out.Digest = hex.EncodeToString(sums.Sum(nil))
	return out
}

// findLocked is the upload of a user under an id, nil if there is none.
func (f *files) findLocked(user, id int64) *upload {
	for _, u := range slices.Backward(f.uploads) {
		if u.user == user && u.id == id {
			return u
		}
	}
	return nil
}

// savePart: core.telegram.org/method/upload.saveFilePart and upload.saveBigFilePart,
// and the errors of api/files. total is -1 as long as the end of a big file is not
// known, and 0 for a small one.
func (f *files) savePart(user, id int64, n, total int, content []byte) *rpcError {
	big := total != 0
	switch {
	case len(content) == 0:
		return &rpcError{400, "FILE_PART_EMPTY"}
	case len(content) > partMax:
		return &rpcError{400, "FILE_PART_TOO_BIG"}
	case total < -1 || total > maxParts:
		return errParts
	case n < 0 || n >= maxParts || total > 0 && n >= total:
		return &rpcError{400, "FILE_PART_INVALID"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.findLocked(user, id)
	if u == nil {
		u = &upload{user: user, id: id, big: big, parts: map[int]filePart{}}
	}
	if u.big != big || u.total > 0 && total > 0 && u.total != total {
		return errParts
	}
	u.total = max(u.total, total, 0)
	if failed := u.fits(n, len(content)); failed != nil {
		return failed
	}
	if len(u.parts) == 0 {
		f.uploads = append(f.uploads, u)
	}
	u.last = max(u.last, n)
	f.parts -= len(u.parts)
	u.parts[n] = filePart{len(content), sha256.Sum256(content)}
	f.parts += len(u.parts)
	for f.parts > keepParts {
		f.parts -= len(f.uploads[0].parts)
		f.uploads = slices.Delete(f.uploads, 0, 1)
	}
	return nil
}

var errParts = &rpcError{400, "FILE_PARTS_INVALID"}

// fits judges the size of part n: all parts but the last are of one size.
func (u *upload) fits(n, size int) *rpcError {
	last := max(u.last, n)
	if n < last || u.total > 0 && n < u.total-1 {
		if size%partUnit != 0 || partMax%size != 0 {
			return &rpcError{400, "FILE_PART_SIZE_INVALID"}
		}
	}
	for i, p := range u.parts {
		if i != n && (i < last && n < last && p.size != size || i == last && p.size > size || n == last && p.size < size) {
			return &rpcError{400, "FILE_PART_SIZE_CHANGED"}
		}
	}
	if old, ok := u.parts[u.last]; ok && u.last < n && (old.size%partUnit != 0 || partMax%old.size != 0) {
		return &rpcError{400, "FILE_PART_SIZE_INVALID"}
	}
	return nil
}

// whole is a complete file that a request names.
type whole struct {
	name string
	size int
}

// complete checks that a file which a request names is there, to its last part.
func (f *files) complete(user int64, in tg.InputFileClass) (whole, *rpcError) {
	var id int64
	var parts int
	var name string
	big := false
	switch in := in.(type) {
	case *tg.InputFile:
		id, parts, name = in.ID, in.Parts, in.Name
		if sum, err := hex.DecodeString(in.MD5Checksum); err != nil || len(sum) != 0 && len(sum) != 16 {
			return whole{}, &rpcError{400, "MD5_CHECKSUM_INVALID"}
		}
	case *tg.InputFileBig:
		id, parts, name, big = in.ID, in.Parts, in.Name, true
	default:
		return whole{}, &rpcError{400, "MEDIA_INVALID"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.findLocked(user, id)
	if u == nil {
		u = &upload{big: big, last: -1}
	}
	if parts < 1 || parts > maxParts || u.big != big || u.last >= parts || u.total > 0 && u.total != parts {
		return whole{}, errParts
	}
	out := whole{name: name}
	for i := range parts {
		p, ok := u.parts[i]
		if !ok {
			return whole{}, &rpcError{400, fmt.Sprintf("FILE_PART_%d_MISSING", i)}
		}
		out.size += p.size
	}
	if !big && out.size > maxSmall {
		return whole{}, errParts
	}
	return out, nil
}

// invokeFiles runs the calls that are about files; false for others.
func (s *Server) invokeFiles(c *call, user int64, rec *Call) (bin.Encoder, *rpcError, bool) {
	var out bin.Encoder
	var failed *rpcError
	switch c.method {
	case tg.UploadSaveFilePartRequestTypeID:
		var req tg.UploadSaveFilePartRequest
		if failed = decode(c, &req); failed == nil {
			failed = s.world.files.savePart(user, req.FileID, req.FilePart, 0, req.Bytes)
		}
		out = &tg.BoolTrue{}
	case tg.UploadSaveBigFilePartRequestTypeID:
		var req tg.UploadSaveBigFilePartRequest
		if failed = decode(c, &req); failed == nil && req.FileTotalParts == 0 {
			failed = errParts
		}
		if failed == nil {
			failed = s.world.files.savePart(user, req.FileID, req.FilePart, req.FileTotalParts, req.Bytes)
		}
		out = &tg.BoolTrue{}
	case tg.MessagesUploadMediaRequestTypeID:
		out, failed = s.uploadMedia(c, user, rec)
	case tg.MessagesSendMediaRequestTypeID:
		out, failed = s.sendMedia(c, user, rec)
	case tg.MessagesSendMultiMediaRequestTypeID:
		out, failed = s.sendMultiMedia(c, user, rec)
	default:
		return nil, nil, false
	}
	if failed != nil {
		return nil, failed, true
	}
	return out, nil, true
}
