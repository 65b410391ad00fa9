package dispatch

import (
	"container/heap"
	"time"
)

// dueHeap orders accounts by the time of their next scheduled or retried job.
type dueHeap []*account

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueIndex, h[j].dueIndex = i, j
}

// Push and Pop are for package heap.
func (h *dueHeap) Push(x any) {
	a := x.(*account)
	a.dueIndex = len(*h)
	*h = append(*h, a)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	a.dueIndex = -1
	return a
}

// dueLocked notes when a job of the account is due, unless another is due
// earlier. It requires r.mu.
func (r *roster) dueLocked(a *account, due time.Time) {
	if a.phase == leaving {
		return
	}
	switch {
	case a.dueIndex < 0:
		a.due = due
		heap.Push(&r.dues, a)
	case due.Before(a.due):
		a.due = due
		heap.Fix(&r.dues, a.dueIndex)
	default:
		return
	}
	if a.dueIndex == 0 {
		r.kickKeeper()
	}
}

// dropDueLocked requires r.mu.
func (r *roster) dropDueLocked(a *account) {
	if a.dueIndex >= 0 {
		heap.Remove(&r.dues, a.dueIndex)
	}
	a.due = time.Time{}
}
