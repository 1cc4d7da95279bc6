package h1

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/pool"
	"github.com/meshd/meshd/sidecar/stats"
)

// A hedge (call/hedge.go) is a second connection beside the attempt's. It only
// reads a head: once that is whole, its connection is the attempt's.
type hedge struct {
	turn  atomic.Uint32 // what was queued or dialled for an earlier one is not wanted
	up    *upstream
	dials bool
	asked bool // the call was asked whether it is to be hedged
}

// wants reports whether a connection dialled for the hedge is still wanted.
func (h *hedge) wants(turn uint32) bool { return h.dials && h.turn.Load() == turn }

// hedges are the calls of a server for which a hedge may be due, in the order
// in which they came, which mostly is that in which they are due. Whoever comes
// next looks at the first ones; a timer looks at all where nobody comes, rarely
// enough to cost nothing.
type hedges struct {
	now func() int64

	mu     sync.Mutex
	pace   call.HedgePace
	of     []hedgeDue // from first on
	first  int
	timer  *time.Timer
	at     int64 // when it fires; 0: it does not
	swept  int64
	closed bool
}

type hedgeDue struct {
	s    *session
	turn uint32
	at   int64
	by   int64 // when the timer is to look for it
}

const maxHedges = 8192 // calls that are looked after; others are not hedged

func (h *hedges) add(d hedgeDue, now int64, late time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for h.first < len(h.of) {
		f := &h.of[h.first]
		if f.s.hedge.turn.Load() == f.turn {
			if f.at > now {
				break
			}
			s, turn := f.s, f.turn
			s.srv.work.Go(func() { s.hedgeDue(turn) }) // the caller's session is locked
		}
		*f = hedgeDue{}
		h.first++
	}
	if h.first == len(h.of) || h.first > maxHedges {
		n := copy(h.of, h.of[h.first:])
		clear(h.of[n:])
		h.of, h.first = h.of[:n], 0
	}
	if len(h.of)-h.first >= maxHedges && !h.sweep() {
		return
	}
	d.by = max(d.at, now+int64(h.pace.Came(now, late)))
	h.of = append(h.of, d)
	if h.at == 0 || h.at > d.by+int64(call.HedgeTick) {
		h.arm(d.by)
	}
}

// sweep forgets the calls that have an answer, where a long delay has many of
// them wait for the timer, and reports whether there is room; with mu held.
func (h *hedges) sweep() bool {
	now := h.now()
	if now-h.swept < int64(10*time.Millisecond) {
		return false
	}
	h.swept = now
	h.of = slices.DeleteFunc(h.of[h.first:], func(d hedgeDue) bool { return d.s.hedge.turn.Load() != d.turn })
	h.first = 0
	return len(h.of) < maxHedges
}

// arm has the timer fire at a time, with mu held.
func (h *hedges) arm(at int64) {
	h.at = at
	d := max(time.Duration(at-h.now()), call.HedgeTick)
	if h.timer == nil {
		h.timer = time.AfterFunc(d, h.fire)
	} else {
		h.timer.Reset(d)
	}
}

// fire starts the hedges that are due, and forgets the calls that have an answer.
func (h *hedges) fire() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	now, next, keep := h.now(), int64(0), h.of[:0]
	var due []hedgeDue
	for _, d := range h.of[h.first:] {
		switch {
		case d.s.hedge.turn.Load() != d.turn:
		case d.at <= now:
			due = append(due, d)
		default:
			keep = append(keep, d)
			if next == 0 || d.by < next {
				next = d.by
			}
		}
	}
	clear(h.of[len(keep):])
	h.of, h.first, h.at = keep, 0, 0
	if next != 0 {
		h.arm(next)
	}
	h.mu.Unlock()
	for _, d := range due {
		d.s.hedgeDue(d.turn)
	}
}

func (h *hedges) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed, h.of = true, nil
	if h.timer != nil {
		h.timer.Stop()
	}
}

// hedgeLater asks, once a call's request was sent as a whole for the first
// time, whether and when it is to be sent to another endpoint too.
func (s *session) hedgeLater(now int64) {
	if s.hedge.asked {
		return
	}
	s.hedge.asked = true
	if s.overflow || s.upgrade || !s.method.idempotent() {
		return
	}
	if after, late := s.call.HedgeAfter(now); after > 0 {
		s.srv.hedges.add(hedgeDue{s: s, turn: s.hedge.turn.Add(1), at: now + int64(after)}, now, late)
	}
}

// hedgeDue starts the hedge.
func (s *session) hedgeDue(turn uint32) {
	defer s.recover()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hedge.turn.Load() != turn || s.state != stCall || !s.inCall || s.up == nil || s.resp.touched || s.overflow || s.sent == nil {
		return
	}
	now := s.srv.now()
	ep := s.call.Hedge(now)
	if ep == nil {
		return
	}
	p := poolOf(ep)
	for {
		u, verdict, _ := p.Get(nil, func() bool { return false })
		switch verdict {
		case pool.Idle:
			if !u.Quiet() {
				u.close()
				p.Lost()
				continue
			}
			s.attachHedge(u, now)
			s.advance()
		case pool.Dial:
			s.hedge.dials = true
			timeout := s.call.ConnectTimeout()
			s.srv.work.Go(func() { s.srv.dial(s, turn, ep, timeout, true) })
		default:
			s.unhedge(now) // there is no room, and nobody waits in a queue for a hedge
		}
		return
	}
}

// attachHedge sends the request on the hedge's connection.
func (s *session) attachHedge(u *upstream, now int64) {
	s.hedge.up, s.hedge.dials = u, false
	u.owner.Store(s)
	if s.call.Retold() {
		s.propagate().AppendLines(s.sent[s.traceAt:s.traceAt], s.call.HedgeContext())
	}
	s.retell(now)
	if u.send(s.sent) != nil {
		u.out, u.Readable = nil, true
		s.readHedge()
		return
	}
	s.watchUp(u)
}

// readHedge reads until the head of the hedge's answer is there.
func (s *session) readHedge() {
	for s.hedge.up != nil {
		u := s.hedge.up
		if len(u.in) > 0 {
			n, err := s.res.parse(u.in, s.srv.Limits)
			switch {
			case err != nil || s.res.status == 101 && n > 0:
				s.hedgeBroken(s.srv.now(), stats.ErrHTTPProtocolError)
				return
			case n > 0 && s.res.status < 200:
				u.used(n)
				continue
			case n > 0:
				s.hedgeAnswered(u, &s.res)
				return
			}
		}
		more, err := u.fill()
		switch {
		case more:
		case err != nil || u.EOF:
			s.hedgeBroken(s.srv.now(), stats.ErrConnectionTerminated)
			return
		case u.full():
			s.hedgeBroken(s.srv.now(), stats.ErrHTTPProtocolError)
			return
		default:
			return
		}
	}
}

// hedgeAnswered makes the hedge's answer the call's, unless it is a failure:
// the first attempt may still do better.
func (s *session) hedgeAnswered(u *upstream, r *response) {
	now := s.srv.now()
	if _, failed := stats.RetryStatus(r.status); failed {
		s.call.HedgeAnswered(now, r.status, func() {
			if r.told {
				s.hear(r, u.in, now)
			}
		})
		s.dropHedge()
		return
	}
	s.closeUp()
	s.seq++
	s.call.HedgeWon(now)
	s.promote()
}

// promote makes the hedge's connection the attempt's. advance is due.
func (s *session) promote() {
	s.up, s.hedge.up = s.hedge.up, nil
	s.hedge.turn.Add(1)
	s.resp = respState{touched: len(s.up.in) > 0}
}

// failOver goes on with the hedge after the attempt's failure; advance is due.
func (s *session) failOver(now int64, e stats.ErrorType) {
	s.closeUp()
	s.seq++
	s.call.Failover(now, e)
	if e != stats.ErrNone {
		s.lastErr = e
	}
	s.promote()
	s.armCall(now)
}

// hedgeBroken ends a hedge that failed.
func (s *session) hedgeBroken(now int64, e stats.ErrorType) {
	if u := s.hedge.up; u != nil && u.reused && len(u.in) == 0 {
		s.call.Unhedge(now) // it was closed while idle: its server has not failed
	} else {
		s.call.HedgeFailed(now, e)
	}
	s.dropHedge()
}

// unhedge gives up a hedge, or its being due.
func (s *session) unhedge(now int64) {
	if s.hedge.asked {
		s.call.Unhedge(now)
		s.dropHedge()
	}
}

// dropHedge closes the hedge's connection, or has one that is dialled go to its pool.
func (s *session) dropHedge() {
	s.hedge.turn.Add(1)
	s.hedge.dials = false
	if u := s.hedge.up; u != nil {
		s.hedge.up = nil
		u.close()
		poolOf(u.ep).Lost()
	}
}
