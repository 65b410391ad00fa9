package main

import (
	"runtime"
	"testing"
)

func TestPercentFor(t *testing.T) {
	for _, tt := range []struct {
		inUse uint64
		want  int
	}{{0, 400}, {1 << 20, 400}, {16 << 20, 400}, {32 << 20, 200}, {64 << 20, 100}, {1 << 30, 100}} {
		if got := percentFor(tt.inUse); got != tt.want {
			t.Errorf("percentFor(%d) = %d, want %d", tt.inUse, got, tt.want)
		}
	}
}

func TestAfterGC(t *testing.T) {
	called := make(chan struct{})
	afterGC(func() { close(called) })
	select {
	case <-called:
		t.Error("called before a collection")
	default:
	}
	for {
		runtime.GC()
		select {
		case <-called:
			return
		default:
		}
	}
}
