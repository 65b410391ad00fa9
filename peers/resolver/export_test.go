package resolver

import "time"

// SetNow replaces the clock.
func (r *Resolver) SetNow(now func() time.Time) { r.now = now }
