package main

import (
	"os"
	"runtime"
	"runtime/debug"
	gauges "runtime/metrics"
)

const (
	// headroom is how much garbage a worker lets gather before it is collected, if not
	// as much as is in use. Each collection looks at the stacks of all jobs in flight:
	// with a few megabytes in use that would take a sixth of the CPU time of a busy worker.
	headroom = 64 << 20
	// gcPercent is Go's own: as much garbage as is in use, stacks included. Up to
	// mostPercent it is raised, as stacks may grow before the next look.
	gcPercent, mostPercent = 100, 400
)

// giveHeadroom has the garbage collector wait for headroom, unless GOGC says how it is
// to work. GOMEMLIMIT holds as ever. It looks at what is in use after each collection.
func giveHeadroom() {
	if os.Getenv("GOGC") != "" { // as Go reads it
		return
	}
	percent := gcPercent
	inUse := []gauges.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	var look func()
	look = func() {
		gauges.Read(inUse)
		if want := percentFor(inUse[0].Value.Uint64() + inUse[1].Value.Uint64() + inUse[2].Value.Uint64()); want*10 < percent*9 || want*10 > percent*11 {
			percent = want
			debug.SetGCPercent(want)
		}
		afterGC(look)
	}
	look()
}

// percentFor is the garbage to wait for, in percent of what is in use.
func percentFor(inUse uint64) int {
	return int(min(max(gcPercent, 100*headroom/max(inUse, 1)), mostPercent))
}

// afterGC has f called once, after the next collection.
func afterGC(f func()) {
	sentinel := new(*byte) // a pointer: no other object is in its place in memory
	runtime.SetFinalizer(sentinel, func(**byte) { f() })
}
