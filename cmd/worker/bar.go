package main

import (
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// countBar shows how many of total are done; it is nil if nobody looks. end takes it off
// the screen.
func countBar(env *cli.Env, name string, total int) (b *mpb.Bar, end func()) {
	if !cli.IsTerminal(env.Stderr) || env.Out.JSON {
		return nil, func() {}
	}
	pages := mpb.New(mpb.WithOutput(env.Stderr), mpb.WithWidth(64))
	b = pages.AddBar(int64(total),
		mpb.PrependDecorators(decor.Name(name+" "), decor.CountersNoUnit("%d / %d")),
		mpb.AppendDecorators(decor.Percentage()))
	return b, func() { b.Abort(true); pages.Wait() }
}
