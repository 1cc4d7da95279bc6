package stats

import "sync/atomic"

// A Gauge is a number that goes up and down, such as open connections. All
// methods may be called from any goroutine and never block.
type Gauge struct{ n atomic.Int64 }

// Add changes the gauge by n.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Inc adds one.
func (g *Gauge) Inc() { g.n.Add(1) }

// Dec takes one away.
func (g *Gauge) Dec() { g.n.Add(-1) }

// Value reads the gauge.
func (g *Gauge) Value() int64 { return g.n.Load() }

// A Counter only grows. All methods may be called from any goroutine and
// never block.
type Counter struct{ n atomic.Uint64 }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Value reads the counter.
func (c *Counter) Value() uint64 { return c.n.Load() }
