package balancer

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// A Prober asks an endpoint how many calls it has in flight and how long it
// takes for one now, and gives the answer to the pool's Answer, at once or
// later, from any goroutine. It does not block, and it may leave out a question.
type Prober func(pool *Pool, e *endpoint.Endpoint)

// Prequal's parameters, as its authors run it (Wydrowski et al., Load is not
// what you should balance: Introducing Prequal, NSDI 2024, section 4).
const (
	poolSize   = 16
	probeRate  = 3.0         // questions a call
	removeRate = 1.0         // answers removed a call, beside those that are used up
	hotAbove   = 0.84        // of the answers' calls in flight: the quantile above which an endpoint is hot
	probeLife  = time.Second // of an answer
	fewest     = 2           // answers without which a choice is none
)

// hcl is Prequal's hot-cold lexicographic rule. Of the endpoints whose answers
// are in the pool, those with more calls in flight than most are hot. If all
// are, the one with the fewest calls is chosen; if not, of the others the one
// that says it is the quickest. Calls in flight are the server's own count,
// over all its callers, and so is the latency: where each caller sends each
// server a call now and then, what it sees by itself is too little and too old.
//
// While the pool has no answers the choice is least_request's.
type hcl struct {
	group
	pool   *Pool
	spread chooser // of least_request
}

func newHCL(cfg *Config, g group) chooser {
	return &hcl{group: g, pool: newPool(g, cfg.Probe), spread: newLeastRequest(cfg, g)}
}

func (h *hcl) look(int64) {}

func (h *hcl) choose(i Info, forced bool) *member {
	// Questions first: their answers are for the calls to come.
	h.pool.ask()
	if m := h.pool.take(&i, forced); m != nil {
		return m
	}
	return h.spread.choose(i, forced)
}

// A Pool is the newest answers of some endpoints.
type Pool struct {
	probe Prober
	index map[*endpoint.State]*member
	group group
	reuse float64 // how often an answer may be used, for answers to last as long as they come

	mu      sync.Mutex // never held across a question
	answers [poolSize]answer
	n       int
	removal float64 // due
	oldest  bool    // what the next removal takes, or else the worst
}

type answer struct {
	member   *member
	inflight int64
	latency  time.Duration
	at       int64
	uses     float64 // left
}

func newPool(g group, probe Prober) *Pool {
	p := &Pool{probe: probe, group: g, index: make(map[*endpoint.State]*member, len(g))}
	for i := range g {
		p.index[g[i].state] = &g[i]
	}
	// b_reuse of the paper, with delta 1: as many uses as keep the pool full.
	m := min(float64(poolSize)/float64(len(g)), 1)
	p.reuse = max(1, 2/max((1-m)*probeRate-removeRate, 0.1))
	return p
}

// ask puts probeRate questions, to endpoints drawn without regard to anything.
func (p *Pool) ask() {
	for q := probeRate; q > 0; q-- {
		if q < 1 && rand.Float64() >= q {
			return
		}
		p.probe(p, p.group[rand.IntN(len(p.group))].endpoint)
	}
}

// Answer takes what an endpoint has said of itself at now: its calls in
// flight, and the latency of late at about so many. One answer of an endpoint
// is kept, and the oldest of all makes way.
func (p *Pool) Answer(e *endpoint.Endpoint, inflight int64, latency time.Duration, now int64) {
	m := p.index[e.State]
	if m == nil {
		return // it has left
	}
	a := answer{m, inflight, latency, now, p.reuse}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := -1
	for k := range p.answers[:p.n] {
		switch {
		case p.answers[k].member == m:
			p.answers[k] = a
			return
		case at < 0 || p.answers[k].at < p.answers[at].at:
			at = k
		}
	}
	if p.n < poolSize {
		at = p.n
		p.n++
	}
	p.answers[at] = a
}

// take chooses among the answers. Where somebody else has hold of the pool,
// there is no answer rather than a wait.
func (p *Pool) take(i *Info, forced bool) *member {
	if !p.mu.TryLock() {
		return nil
	}
	defer p.mu.Unlock()
	p.expire(i.Now)
	best, known := -1, 0
	hot := p.hotter()
	for k := range p.answers[:p.n] {
		if a := &p.answers[k]; a.member.fit(i, forced) {
			known++
			if best < 0 || a.better(&p.answers[best], hot) {
				best = k
			}
		}
	}
	if known < min(fewest, len(p.group)) {
		return nil
	}
	a := &p.answers[best]
	m := a.member
	a.inflight++ // this call
	if a.uses--; a.uses < 1 && rand.Float64() >= a.uses {
		p.remove(best)
	}
	for p.removal += removeRate; p.removal >= 1; p.removal-- {
		p.shrink()
	}
	return m
}

// better is the rule: cold before hot, the quicker of the cold, the less busy
// of the hot.
func (a *answer) better(than *answer, hot int64) bool {
	h, t := a.inflight > hot, than.inflight > hot
	switch {
	case h != t:
		return t
	case h:
		return a.inflight < than.inflight
	}
	return a.latency < than.latency
}

// hotter is the number of calls above which an endpoint is hot.
func (p *Pool) hotter() int64 {
	var sorted [poolSize]int64
	for k := range p.answers[:p.n] {
		x, at := p.answers[k].inflight, k
		for ; at > 0 && sorted[at-1] > x; at-- {
			sorted[at] = sorted[at-1]
		}
		sorted[at] = x
	}
	if p.n == 0 {
		return 0
	}
	return sorted[int(hotAbove*float64(p.n-1))]
}

func (p *Pool) expire(now int64) {
	for k := p.n - 1; k >= 0; k-- {
		if now-p.answers[k].at > int64(probeLife) {
			p.remove(k)
		}
	}
}

// shrink removes the oldest answer and the worst in turn: either kind would
// pile up, since neither is ever chosen.
func (p *Pool) shrink() {
	if p.n <= fewest {
		return
	}
	hot, at := p.hotter(), 0
	for k := range p.answers[:p.n] {
		if p.oldest && p.answers[k].at < p.answers[at].at || !p.oldest && p.answers[at].better(&p.answers[k], hot) {
			at = k
		}
	}
	p.oldest = !p.oldest
	p.remove(at)
}

func (p *Pool) remove(k int) {
	p.n--
	p.answers[k] = p.answers[p.n]
	p.answers[p.n] = answer{}
}
