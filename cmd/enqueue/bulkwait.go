package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// waiters is how many jobs are waited for at the same time: one subscription each, all
// on one connection.
const waiters = 2000

// spool keeps the ids of accepted jobs in a file, so that
// memory does not grow with their number.
type spool struct {
	f   *os.File
	buf *bufio.Writer
	n   int
}

const spooled = 8 + 16 // bytes of one: number of the line, id

func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", "enqueue-bulk-*")
	if err != nil {
		return nil, fmt.Errorf("keep ids of jobs to wait for: %w", err)
	}
	_ = os.Remove(f.Name()) // where the system lets it, so that a crash leaves nothing
	return &spool{f: f, buf: bufio.NewWriter(f)}, nil
}

func (s *spool) close() {
	s.f.Close()
	_ = os.Remove(s.f.Name())
}

func (s *spool) add(line int, id string) error {
	parsed, err := uuid.Parse(id)
	if err == nil {
		s.n++
		_, err = s.buf.Write(append(binary.BigEndian.AppendUint64(nil, uint64(line)), parsed[:]...))
	}
	if err != nil {
		return fmt.Errorf("keep the id of line %d: %w", line, err)
	}
	return nil
}

// each calls do for every id until it returns false.
func (s *spool) each(do func(line int, id string) bool) error {
	err := s.buf.Flush()
	if err == nil {
		_, err = s.f.Seek(0, io.SeekStart)
	}
	in := bufio.NewReader(s.f)
	for one := make([]byte, spooled); err == nil; {
		if _, err = io.ReadFull(in, one); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && !do(int(binary.BigEndian.Uint64(one)), uuid.UUID(one[8:]).String()) {
			return nil
		}
	}
	return fmt.Errorf("read ids of jobs to wait for: %w", err)
}

// bulkOutcome is what became of the job of a line.
type bulkOutcome struct {
	Line int `json:"line"`
	jobs.Result
}

// outcomes prints what becomes of the jobs, as it is known.
func (b *bulk) outcomes(ctx context.Context) error {
	wctx, cancel := context.WithTimeout(ctx, b.wait)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex // of the output
	var printed error
	var succeeded, ended atomic.Int64
	free := make(chan struct{}, waiters) // a place for each that is waited for
	err := b.spool.each(func(line int, id string) bool {
		select {
		case free <- struct{}{}:
		case <-wctx.Done():
			return false
		}
		wg.Go(func() {
			defer func() { <-free }()
			r, err := b.client.Wait(wctx, id)
			if err != nil {
				if wctx.Err() == nil {
					mu.Lock()
					defer mu.Unlock()
					printed = errors.Join(printed, err)
					cancel()
				}
				return
			}
			ended.Add(1)
			if r.State == jobs.Succeeded {
				succeeded.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			if err := b.printOutcome(line, r); err != nil && printed == nil {
				printed = err
				cancel()
			}
		})
		return true
	})
	wg.Wait()
	total, good, over := int64(b.spool.n), succeeded.Load(), ended.Load()
	if err = errors.Join(err, printed); err == nil && !b.env.Out.JSON {
		err = b.env.Out.Printf("%d jobs: %d succeeded, %d did not, %d have no outcome yet\n", total, good, over-good, total-over)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return errors.New("interrupted; the jobs go on, and the same command again waits for them")
	case over < total:
		return cli.TimedOut("%d of %d jobs have no outcome after %s; the same command again waits for them", total-over, total, short(b.wait))
	case good < total || b.Refused > 0:
		return cli.ErrFailed
	}
	return nil
}

func (b *bulk) printOutcome(line int, r jobs.Result) error {
	if b.env.Out.JSON {
		return b.env.Out.Object(bulkOutcome{line, r})
	}
	text := fmt.Sprintf("%d: %s  %s  %s  %s", line, r.ID, r.Account, r.Kind, r.State)
	if s := summary(r); s != "" {
		text += ": " + s
	}
	return b.env.Out.Printf("%s\n", cli.Clean(text))
}
