package dispatch

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/jobs/internal/link"
)

// health is what the dispatcher knows of its connection to Redis. Anyone may
// report that it failed; only the keeper, which probes, says that it is back.
// Both are logged once.
type health struct {
	log  *slog.Logger
	kick func() // wakes the keeper

	mu    sync.Mutex // guards below
	cause error      // nil: Redis answers
	since time.Time
	up    chan struct{} // closed while Redis answers
}

func newHealth(log *slog.Logger, kick func()) *health {
	up := make(chan struct{})
	close(up)
	return &health{log: log, kick: kick, since: time.Now(), up: up}
}

// failed takes any error; one that is an answer of Redis changes nothing.
func (h *health) failed(err error) {
	if !link.Down(err) {
		return
	}
	h.mu.Lock()
	first := h.cause == nil
	if first {
		h.cause, h.since, h.up = err, time.Now(), make(chan struct{})
	}
	h.mu.Unlock()
	if first {
		h.log.Warn("Redis cannot be reached; jobs wait", "error", err)
		h.kick()
	}
}

// back is for the keeper.
func (h *health) back() {
	h.mu.Lock()
	was, since := h.cause, h.since
	if was != nil {
		h.cause, h.since = nil, time.Now()
		close(h.up)
	}
	h.mu.Unlock()
	if was != nil {
		h.log.Info("Redis can be reached again", "after", fmt.Sprint(time.Since(since).Round(time.Millisecond)))
	}
}

func (h *health) err() error {
	_, err := h.state()
	return err
}

func (h *health) state() (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.cause
}

// answers is closed while Redis answers.
func (h *health) answers() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up
}
