package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gotd/td/telegram/uploader"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/tljson"
)

const (
	// maxUploads bounds the files that are fetched and uploaded at once: each has up
	// to uploadThreads parts of 512 KiB in memory, several times over.
	maxUploads    = 16
	uploadThreads = 2
	// shortFlood is how long an upload waits for Telegram in its place. Another run
	// would begin with the first part, and meet the same wait again: of a large file
	// every few parts are followed by one (FLOOD_PREMIUM_WAIT, core.telegram.org/api/files).
	shortFlood = 15 * time.Second
)

// Names of a fileError.
const (
	fileNotAllowed = "file_not_allowed" // this worker does not take it from there
	fileUnreadable = "file_unreadable"
	fileTooLarge   = "file_too_large"
	fileEmpty      = "file_empty"
	fetchFailed    = "fetch_failed"
)

// fileError tells why a file of a call cannot be sent.
type fileError struct {
	At      string // params.media
	Name    string // one of the above
	Message string // one sentence that says what would do
	Retry   bool   // another attempt may do better
}

func (e *fileError) Error() string { return "invoke." + e.At + ": " + e.Message }

// unsendable is how a job ends, or goes on, whose file cannot be sent.
func (h *Handlers) unsendable(j *job, err *fileError) (failure, error) {
	end := failed(0, err.Name, err.Error())
	if err.Retry {
		return h.again(j, err, end)
	}
	return end, nil
}

// upload uploads the files of a call over the account's invoker, and puts them in
// their places. peer is where the call sends to; it may be nil if no File is of an
// album. To repeat it is harmless: Telegram forgets files that no call names.
//
// Its error is a *fileError if a file is to blame, and otherwise that of a call.
func (h *Handlers) upload(ctx context.Context, inv tg.Invoker, peer tg.InputPeerClass, files []tljson.File) error {
	for i := range files {
		if err := h.uploadOne(ctx, inv, peer, &files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handlers) uploadOne(ctx context.Context, inv tg.Invoker, peer tg.InputPeerClass, f *tljson.File) error {
	select {
	case h.uploads <- struct{}{}:
		defer func() { <-h.uploads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	src, err := h.open(ctx, f)
	if err != nil {
		return err
	}
	defer src.close()
	k, err := kindOf(f, src)
	if err != nil {
		return &fileError{At: f.At, Name: fileUnreadable, Message: fmt.Sprintf("the file cannot be read: %v", err)}
	}
	in, err := sendParts(ctx, inv, f.At, k.name, src)
	if err != nil {
		return err
	}
	if !f.Media {
		f.SetFile(in)
		return nil
	}
	media := k.media(in)
	if f.Album {
		if media, err = known(ctx, inv, peer, media); err != nil {
			return fmt.Errorf("%s: %w", f.At, err)
		}
	}
	f.SetMedia(media)
	return nil
}

// sendParts uploads a file's content.
func sendParts(ctx context.Context, inv tg.Invoker, at, name string, src *source) (tg.InputFileClass, error) {
	content := &exactly{from: src, left: src.size}
	up := uploader.NewUploader(parts{tg.NewClient(inv)}).WithThreads(uploadThreads)
	in, err := up.Upload(ctx, uploader.NewUpload(name, content, src.size))
	if err == nil {
		return in, nil
	}
	var call *partError
	switch {
	case content.err != nil:
		return nil, &fileError{At: at, Name: fileUnreadable, Message: fmt.Sprintf("the file cannot be read to its end: %v", content.err), Retry: true}
	case errors.As(err, &call):
		err = call.err
	}
	return nil, fmt.Errorf("%s: upload: %w", at, err)
}

// parts makes the calls of gotd's uploader. That would sleep through any flood wait
// of an error that it sees, and ask without a pause while Telegram says no; so it
// sees a partError, which ends the upload.
type parts struct{ client *tg.Client }

var _ uploader.Client = parts{}

// partError hides the error of a call. It has no Unwrap.
type partError struct{ err error }

func (e *partError) Error() string { return e.err.Error() }

func (p parts) UploadSaveFilePart(ctx context.Context, req *tg.UploadSaveFilePartRequest) (bool, error) {
	return p.save(ctx, func() (bool, error) { return p.client.UploadSaveFilePart(ctx, req) })
}

func (p parts) UploadSaveBigFilePart(ctx context.Context, req *tg.UploadSaveBigFilePartRequest) (bool, error) {
	return p.save(ctx, func() (bool, error) { return p.client.UploadSaveBigFilePart(ctx, req) })
}

// save makes one call, and again while the connection comes and goes or Telegram
// wants a short pause: a part may be sent twice.
func (p parts) save(ctx context.Context, call func() (bool, error)) (bool, error) {
	for lost := 0; ; {
		ok, err := call()
		var flood *accounts.FloodWaitError
		switch {
		case err == nil && ok:
			return true, nil
		case err == nil:
			return false, &partError{errors.New("a part of the file was not saved by Telegram")}
		case ctx.Err() != nil:
			return false, &partError{err}
		case errors.As(err, &flood) && flood.Wait <= shortFlood:
			t := time.NewTimer(flood.Wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return false, &partError{err}
			}
		case disconnected(err) && lost < maxReconnects:
			lost++
		default:
			return false, &partError{err}
		}
	}
}

// exactly reads a number of bytes. The uploader has told Telegram how many come.
type exactly struct {
	from io.Reader
	left int64
	err  error
}

var errShrank = errors.New("it became shorter while it was read")

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.from.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = errShrank
	}
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

// known has Telegram make a photo or document of an uploaded file: an album takes
// no others. Source: core.telegram.org/method/messages.sendMultiMedia.
func known(ctx context.Context, inv tg.Invoker, peer tg.InputPeerClass, media tg.InputMediaClass) (tg.InputMediaClass, error) {
	answer, err := tg.NewClient(inv).MessagesUploadMedia(ctx, &tg.MessagesUploadMediaRequest{Peer: peer, Media: media})
	if err != nil {
		return nil, err
	}
	switch m := answer.(type) {
	case *tg.MessageMediaPhoto:
		if photo, ok := m.Photo.(*tg.Photo); ok {
			return &tg.InputMediaPhoto{ID: photo.AsInput()}, nil
		}
	case *tg.MessageMediaDocument:
		if doc, ok := m.Document.(*tg.Document); ok {
			return &tg.InputMediaDocument{ID: doc.AsInput()}, nil
		}
	}
	return nil, fmt.Errorf("messages.uploadMedia: %w: %T is no photo or document", pool.ErrBadAnswer, answer)
}
