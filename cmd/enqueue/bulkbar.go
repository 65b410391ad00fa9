package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// bulkBar shows how much of a file has been read, where somebody looks. A nil one
// shows nothing.
type bulkBar struct {
	pages *mpb.Progress
	bar   *mpb.Bar
}

// newBulkBar is for a file of so many bytes; 0 if that is not known.
func newBulkBar(env *cli.Env, size int64) *bulkBar {
	if env.Out.JSON || !cli.IsTerminal(env.Stderr) {
		return nil
	}
	return openBulkBar(env.Stderr, size)
}

func openBulkBar(w io.Writer, size int64, opts ...mpb.ContainerOption) *bulkBar {
	b := &bulkBar{pages: mpb.New(append(opts, mpb.WithOutput(w), mpb.WithWidth(64))...)}
	b.bar = b.pages.AddBar(size,
		mpb.PrependDecorators(decor.Name("bulk "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage()))
	return b
}

func (b *bulkBar) add(n int) {
	if b != nil {
		b.bar.IncrBy(n)
	}
}

// above is where lines go that are not to be overwritten; w without a bar.
func (b *bulkBar) above(w io.Writer) io.Writer {
	if b == nil {
		return w
	}
	return b.pages
}

// close takes the bar off the screen.
func (b *bulkBar) close() {
	if b != nil {
		b.bar.Abort(true)
		b.pages.Wait()
	}
}
