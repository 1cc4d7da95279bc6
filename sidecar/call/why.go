package call

import (
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
)

// decisions are what a call would have to say if it were asked why: too little
// to cost anything, enough to make a Record of if it turns out to be worth one.
type decisions struct {
	first  try   // most calls have no other
	more   []try // those after it
	head   int64 // when the head of the caller's answer was there; 0: not yet
	notes  uint8
	reason stats.RetryReason // of the next attempt
	hasWhy bool
}

type try struct {
	ep     *endpoint.Endpoint
	began  int64
	ended  int64
	cost   float64 // of the endpoint when it was chosen
	span   [8]byte // what its endpoint was told
	sent   int64   // when its request began to go out; 0: it has not
	status int
	err    stats.ErrorType
	reason stats.RetryReason
	again  bool // it was a retry, for reason
	hedge  bool
	turned bool
}

// Notes that a call may have once each.
const (
	noteBudget      uint8 = 1 << iota // the retry budget was spent
	noteOtherTier                     // another tier tries again
	noteHedgeBudget                   // no hedge, for want of budget
)

// try is the nth attempt, of those begun.
func (d *decisions) try(nth int) *try {
	if nth == 0 {
		return &d.first
	}
	return &d.more[nth-1]
}

func (d *decisions) note(n uint8) { d.notes |= n }

func (d *decisions) again(r stats.RetryReason) { d.reason, d.hasWhy = r, true }

func (d *decisions) begin(c *Call, now int64) {
	if c.nth > 0 {
		d.more = append(d.more, try{})
	}
	t := d.try(c.nth)
	t.ep, t.began = c.ep, now
	t.cost = c.ep.Load.Cost(now)
	t.reason, t.again = d.reason, d.hasWhy
	d.hasWhy = false
}

func (d *decisions) hedged(nth int) { d.try(nth).hedge = true }

func (d *decisions) end(c *Call, now int64, status int, e stats.ErrorType) {
	t := d.try(c.nth)
	t.ended, t.status, t.err, t.turned = now, status, e, c.turned
}

// A Record is the answer to why a call went as it did. Times are in ms since
// the call's start.
type Record struct {
	Trace   string    `json:"trace,omitempty"`
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	Route   string    `json:"route,omitempty"`
	Cluster string    `json:"cluster,omitempty"`
	// The versions of the route's and the cluster's configuration, which hold
	// what policies say.
	RouteVersion   string `json:"routeVersion,omitempty"`
	ClusterVersion string `json:"clusterVersion,omitempty"`
	Balancer       string `json:"balancer,omitempty"`
	Inbound        bool   `json:"inbound,omitempty"`
	Kept           string `json:"kept"` // error, slow, sampled or joined

	Method   string  `json:"method,omitempty"`
	Path     string  `json:"path,omitempty"`
	Status   int     `json:"status,omitempty"`
	GRPC     string  `json:"grpc,omitempty"`
	Error    string  `json:"error,omitempty"`
	Refusal  string  `json:"refusal,omitempty"`
	TookMs   float64 `json:"tookMs"`
	HeldMs   float64 `json:"heldMs,omitempty"`
	QueuedMs float64 `json:"queuedMs,omitempty"`

	Priority   string  `json:"priority,omitempty"`
	DeadlineMs float64 `json:"deadlineMs,omitempty"`
	Earlier    int     `json:"earlier,omitempty"` // attempts that led to this call
	Session    string  `json:"session,omitempty"`

	Attempts   []AttemptRecord  `json:"attempts,omitempty"`
	Notes      []string         `json:"notes,omitempty"`
	Budget     float64          `json:"budget"` // retries that could be paid for at the end
	Candidates []CandidateState `json:"candidates,omitempty"`
	// Endpoints is how many there were, of which Candidates are at most 16:
	// those tried, and the first of the others.
	Endpoints int `json:"endpoints,omitempty"`
}

// An AttemptRecord is one attempt.
type AttemptRecord struct {
	Endpoint string  `json:"endpoint"`
	Instance string  `json:"instance,omitempty"`
	AtMs     float64 `json:"atMs"`
	TookMs   float64 `json:"tookMs,omitempty"` // absent: it had not ended
	Cost     float64 `json:"cost"`             // of the endpoint when it was chosen, ns
	Status   int     `json:"status,omitempty"`
	GRPC     string  `json:"grpc,omitempty"`
	Error    string  `json:"error,omitempty"`
	Retry    string  `json:"retry,omitempty"` // the reason for which it was made
	Hedge    bool    `json:"hedge,omitempty"`
	Shed     bool    `json:"shed,omitempty"`
}

// A CandidateState is an endpoint as it was when the call had ended.
type CandidateState struct {
	Endpoint string  `json:"endpoint"`
	Instance string  `json:"instance,omitempty"`
	Cost     float64 `json:"cost"`
	InFlight int64   `json:"inFlight"`
	Breaker  string  `json:"breaker"`
	Health   string  `json:"health,omitempty"`
}

// Records keeps the newest Records of each kind that is worth one, in rings
// that do not grow. It may be used from any goroutine.
type Records struct {
	mu    sync.Mutex
	kinds [kinds]ring
	rate  [kinds]*breaker.Bucket
	// sampled is of Records of calls that only the trace's head kept.
	sampled *breaker.Bucket
}

const (
	recordsKept   = 256 // of each kind
	recordsRate   = 50  // calls kept a second, of each kind
	sampledRate   = 5   // Records of them, where they are only sampled
	maxCandidates = 16
)

type ring struct {
	of   []Record
	next int
}

// NewRecords makes empty Records.
func NewRecords() *Records {
	r := &Records{sampled: breaker.NewBucket(sampledRate, recordsRate)}
	for i := range r.rate {
		r.rate[i] = breaker.NewBucket(recordsRate, recordsRate)
	}
	return r
}

// All lists the Records that accept does not refuse, of each kind the newest
// first.
func (r *Records) All(accept func(*Record) bool) []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []Record{}
	for k := range r.kinds {
		of := &r.kinds[k]
		for i := range of.of {
			rec := &of.of[(of.next-1-i+2*len(of.of))%len(of.of)]
			if accept(rec) {
				out = append(out, *rec)
			}
		}
	}
	return out
}

func (r *Records) add(kind int, rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := &r.kinds[kind]
	if len(of.of) < recordsKept {
		of.of = append(of.of, rec)
		of.next = len(of.of) % recordsKept
		return
	}
	of.of[of.next] = rec
	of.next = (of.next + 1) % recordsKept
}

func (c *Call) record(now int64, status int, e stats.ErrorType) Record {
	at := func(ns int64) float64 { return float64(ns-c.Start) / 1e6 }
	rec := Record{
		Time: c.tracer.time(c.Start), Service: c.Route.Service.Name(), Route: c.Route.Name, Inbound: c.Route.Server,
		Kept: c.keep.String(), TookMs: at(now), Error: e.String(), Refusal: c.refusal.Detail,
		QueuedMs: float64(c.queued) / 1e6, HeldMs: float64(c.heldNs) / 1e6,
		Earlier: c.earlier, Session: c.id, Notes: c.log.words(c.attempts),
	}
	if c.delayed {
		rec.Notes = append(rec.Notes, "delayed on purpose: the route's policy injects faults")
	}
	if c.Context.TraceID != [16]byte{} {
		rec.Trace = hex.EncodeToString(c.Context.TraceID[:])
	}
	rec.Status, rec.GRPC = outcomeWords(status)
	if c.owner != nil {
		s := c.owner.Subject()
		rec.Method, rec.Path = short(s.Method, 32), short(pathOf(s.Path), 512)
	}
	if c.priority != breaker.Critical || c.ownPriority {
		rec.Priority = c.priority.String()
	}
	if c.until != 0 {
		rec.DeadlineMs = at(c.until)
	}
	for i := range c.attempts {
		t := c.log.try(i)
		a := AttemptRecord{
			Endpoint: t.ep.Address, Instance: t.ep.ID, AtMs: at(t.began), Cost: t.cost,
			Error: t.err.String(), Hedge: t.hedge, Shed: t.turned,
		}
		a.Status, a.GRPC = outcomeWords(t.status)
		if t.ended != 0 {
			a.TookMs = float64(t.ended-t.began) / 1e6
		}
		if t.again {
			a.Retry = t.reason.String()
		}
		if rec.Attempts == nil {
			rec.Attempts = make([]AttemptRecord, 0, c.attempts)
		}
		rec.Attempts = append(rec.Attempts, a)
	}
	if c.view == nil || c.Route.Server {
		return rec
	}
	rec.Cluster, rec.Balancer = c.view.Name, c.view.Balancer
	rec.RouteVersion, rec.ClusterVersion = c.Route.Version, c.view.Version
	rec.Budget = c.view.budget.Stats().Balance
	rec.Endpoints = c.view.set.Len()
	rec.Candidates = make([]CandidateState, 0, min(rec.Endpoints, maxCandidates))
	tried := c.tried[:c.attempts]
	for i, ep := range tried {
		if !slices.Contains(tried[:i], ep) {
			rec.Candidates = append(rec.Candidates, candidate(ep, now))
		}
	}
	for _, ep := range c.view.set.Endpoints() {
		if len(rec.Candidates) == maxCandidates {
			break
		}
		if !slices.Contains(tried, ep) {
			rec.Candidates = append(rec.Candidates, candidate(ep, now))
		}
	}
	return rec
}

func candidate(ep *endpoint.Endpoint, now int64) CandidateState {
	return CandidateState{
		Endpoint: ep.Address, Instance: ep.ID, Cost: ep.Load.Cost(now), InFlight: ep.Load.InFlight(),
		Breaker: ep.Breaker.State().String(), Health: ep.Standing(now),
	}
}

// short is a copy of the beginning: what a record keeps must not keep buffers.
func short(s string, most int) string { return strings.Clone(s[:min(len(s), most)]) }

// pathOf is a target without the secrets in its query.
func pathOf(target string) string {
	if path, query, ok := strings.Cut(target, "?"); ok {
		return path + "?" + redact(query)
	}
	return target
}

func outcomeWords(status int) (int, string) {
	if code, ok := stats.GRPCCode(status); ok {
		return 0, stats.GRPCName(code)
	}
	return status, ""
}

// words are the notes of a call with so many attempts.
func (d *decisions) words(attempts int) (out []string) {
	for _, n := range [...]struct {
		bit  uint8
		word string
	}{
		{noteBudget, "not tried again: the retry budget was spent"},
		{noteOtherTier, "not tried again: another tier tries this call again"},
		{noteHedgeBudget, "not hedged: the budget of hedges was spent"},
	} {
		if d.notes&n.bit != 0 {
			out = append(out, n.word)
		}
	}
	return out
}
