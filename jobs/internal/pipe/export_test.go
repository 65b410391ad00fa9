package pipe

// Waiting is how many callers wait for the pipeline under way.
func (p *Pipe) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}
