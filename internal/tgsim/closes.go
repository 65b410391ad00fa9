package tgsim

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/gotd/td/proto/codec"
)

// Reasons of a close in the log and in Stats.Closes. Texts with a number or an
// address are in the log alone.
const (
	closedByClient   = "closed by the client"
	closedInFrame    = "closed by the client within a frame"
	closedReset      = "reset by the client"
	closedSilent     = "nothing came in time"
	closedNotReading = "the client does not read its answers"
	closedWrite      = "write failed"
)

var errShortFrame = errors.New("frame shorter than an auth_key_id")

// maxReasons bounds Stats.Closes: errors of strangers have many texts.
const maxReasons = 64

// closeReason names what ended reading.
func closeReason(err error) string {
	var code *codec.ProtocolErr // what gotd takes a frame of 4 bytes for
	switch {
	case errors.As(err, &code):
		return errShortFrame.Error()
	case errors.Is(err, errFrameSize):
		return errFrameSize.Error()
	case errors.Is(err, errTransport):
		return errTransport.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return closedSilent
	case errors.Is(err, io.ErrUnexpectedEOF):
		return closedInFrame
	case errors.Is(err, syscall.ECONNRESET):
		return closedReset
	}
	kind, _, _ := strings.Cut(err.Error(), ":")
	return kind
}

// writeReason names what ended writing.
func writeReason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return closedNotReading
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return closedReset
	}
	return closedWrite
}

// closed counts a close.
func (s *stats) closed(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closes == nil {
		s.closes = map[string]int{}
	}
	if _, known := s.closes[reason]; !known && len(s.closes) >= maxReasons {
		reason = "other"
	}
	s.closes[reason]++
}

// closesLocked returns a copy.
func (s *stats) closesLocked() map[string]int {
	if s.closes == nil {
		return map[string]int{}
	}
	return maps.Clone(s.closes)
}
