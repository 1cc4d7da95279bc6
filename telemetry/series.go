package telemetry

import (
	"fmt"
	"slices"
	"time"
)

// kind says what a metric counts.
type kind uint8

const (
	clientDuration kind = iota + 1
	serverDuration
	clientActive
	serverActive
	openBreakers
	holdWaiting
	retries
	retriesDenied
	endpointRequests
	endpointFailures
	callTime
	ejections
	shed
	endpointWeight
	endpointBreaker
	endpointEjections
)

// shape is the OTLP data that a metric comes as.
type shape uint8

const (
	histogram shape = iota + 1 // exponential histogram
	counter                    // monotonic sum
	gauge                      // gauge or cumulative sum that may fall
)

// metrics are the ones that the store keeps, by the names of
// docs/reference/wire.md. meshd.connections belongs to no service and is not kept.
var metrics = map[string]struct {
	kind  kind
	shape shape
}{
	"http.client.request.duration": {clientDuration, histogram},
	"http.server.request.duration": {serverDuration, histogram},
	"http.client.active_requests":  {clientActive, gauge},
	"http.server.active_requests":  {serverActive, gauge},
	"meshd.client.retries":         {retries, counter},
	"meshd.client.retries_denied":  {retriesDenied, counter},
	"meshd.breaker.open":           {openBreakers, gauge},
	"meshd.hold.waiting":           {holdWaiting, gauge},
	"meshd.endpoint.requests":      {endpointRequests, counter},
	"meshd.endpoint.failures":      {endpointFailures, counter},
	"meshd.client.call.time":       {callTime, counter},
	"meshd.server.call.time":       {callTime, counter},
	"meshd.health.ejections":       {ejections, counter},
	"meshd.admission.shed":         {shed, counter},
	"meshd.endpoint.weight":        {endpointWeight, gauge},
	"meshd.endpoint.breaker":       {endpointBreaker, gauge},
	"meshd.endpoint.ejections":     {endpointEjections, counter},
}

func (k kind) isGauge() bool {
	return k == clientActive || k == serverActive || k == openBreakers || k == holdWaiting || k == endpointBreaker
}

// anybodys says whether the metric is one that others have as well, of calls
// that are no service's of the mesh.
func (k kind) anybodys() bool {
	return k == clientDuration || k == serverDuration || k == clientActive || k == serverActive
}

func (k kind) isHistogram() bool { return k == clientDuration || k == serverDuration }

// ofInstance says whether the metric is of one instance: the reporter, or an
// endpoint that it calls.
func (k kind) ofInstance() bool {
	switch k {
	case serverDuration, serverActive, endpointRequests, endpointFailures, endpointBreaker, endpointEjections:
		return true
	}
	return false
}

// sparse says whether sidecars tell of what has grown since their last report,
// and of the rest in ten (tracing/sparse.go).
func (k kind) sparse() bool {
	return k == endpointRequests || k == endpointFailures || k == retriesDenied
}

// The parts of a call's time, by meshd.call.part.
const (
	partHeld = iota
	partConnect
	partRetried
	partQueued
	partDownstream
	numParts
)

var (
	partNames = []string{"held", "connect", "retried", "queued", "downstream"}
	// rules are meshd.health.rule; the last is any other.
	rules = []string{"consecutive", "success-rate", "failure-percentage", "latency", "other"}
	// trips are meshd.breaker.rule; the last is none, or any other.
	trips = []string{"consecutive-failures", "error-ratio", ""}
)

// words is where the value of a metric's further attribute is counted.
func (k kind) word(text string) (int, error) {
	switch k {
	case callTime:
		i := slices.Index(partNames, text)
		if i < 0 {
			return 0, fmt.Errorf("meshd.call.part %q: want one of %q", clip(text, 64), partNames)
		}
		return i, nil
	case ejections, endpointEjections:
		return orLast(rules, text), nil
	case endpointBreaker:
		return orLast(trips, text), nil
	}
	return 0, nil
}

func orLast(words []string, word string) int {
	if i := slices.Index(words, word); i >= 0 {
		return i
	}
	return len(words) - 1
}

// reporterKey is the resource of one sidecar.
type reporterKey struct{ namespace, name, instance string }

// A reporter is one sidecar: what it said last, to see what is new. Its series
// lie in the order in which it tells them, which is the same each time.
type reporter struct {
	key    reporterKey
	number uint32 // of weights; 0: it has told none
	seen   int64  // meshd's time of the last report, ns
	series []series
	hists  []lastHistogram // of those that are distributions
	told   *told           // of the series that was told last
	index  []int32         // where series are, by their keys; nil until one is sought
	next   int             // the series that is likely to come next
	gauges []int32         // of series
	// demands are what it wants of the services that are followed.
	demands map[*port]*demand
	// partial: some of its series were refused or forgotten. One that comes
	// later may then not be new, and its first value is a baseline only.
	partial bool
	// unheard: it may be that long, in meshd's ns, until it has told of all that
	// it has counted, since it was there before meshd was.
	unheard int64
}

// find is the series of a key; nil if it is new. The pointer is good until the
// next add.
func (r *reporter) find(key uint64) *series {
	if r.next < len(r.series) && r.series[r.next].key == key {
		r.next++
		return &r.series[r.next-1]
	}
	if r.index == nil {
		r.reindex()
	}
	if at := *r.place(key); at > 0 {
		r.next = int(at)
		return &r.series[at-1]
	}
	return nil
}

// place is where in the index a key is, or would be: 1 + its place in series,
// or 0. Keys are hashes, so their low bits do.
func (r *reporter) place(key uint64) *int32 {
	mask := uint64(len(r.index) - 1)
	for at := key & mask; ; at = (at + 1) & mask {
		if n := r.index[at]; n == 0 || r.series[n-1].key == key {
			return &r.index[at]
		}
	}
}

// fits says whether an index of so many places is for n series: a quarter of the
// places are free.
func fits(n, size int) bool { return n <= size-size/4 }

// reindex makes the index anew.
func (r *reporter) reindex() {
	size := 16
	for !fits(len(r.series)+1, size) {
		size *= 2
	}
	r.index = make([]int32, size)
	for i := range r.series {
		*r.place(r.series[i].key) = int32(i + 1)
	}
}

func (r *reporter) add(sr series, h lastHistogram) *series {
	i := len(r.series)
	if sr.kind.isHistogram() {
		r.hists = append(r.hists, h)
		sr.hist = int32(len(r.hists))
	}
	r.series = append(r.series, sr)
	switch {
	case r.index == nil:
	case !fits(len(r.series), len(r.index)):
		r.reindex()
	default:
		*r.place(sr.key) = int32(i + 1)
	}
	if sr.kind.isGauge() {
		r.gauges = append(r.gauges, int32(i))
	}
	r.next = i + 1
	return &r.series[i]
}

// trim gives memory back that series grew by.
func (r *reporter) trim() {
	if n := len(r.series); cap(r.series) > n+n/16 {
		r.series = append(make([]series, 0, n), r.series...)
	}
	if n := len(r.hists); cap(r.hists) > n+n/16 {
		r.hists = append(make([]lastHistogram, 0, n), r.hists...)
	}
}

// histogram is what a duration series has more; nil of another. The pointer is
// good until the next add.
func (r *reporter) histogram(sr *series) *lastHistogram {
	if sr.hist == 0 {
		return nil
	}
	return &r.hists[sr.hist-1]
}

// tell is the told of a data point that came now: most of a report share one.
func (r *reporter) tell(p *point, now int64) *told {
	if t := r.told; t == nil || t.start != p.start || t.time != p.time || t.seen != now {
		r.told = &told{p.start, p.time, now}
	}
	return r.told
}

// bytes is what the last values of its distributions weigh.
func (r *reporter) bytes() (n int) {
	for i := range r.hists {
		n += cap(r.hists[i].packed)
	}
	return n
}

// forget drops the series that the reporter no longer mentions, such as those
// of endpoints that are gone, and returns how many they were, and the bytes of
// their histograms.
func (r *reporter) forget(now int64) (gone, bytes int) {
	silent := func(sr series) bool { return now-sr.told.seen > int64(forgetAfter) }
	r.index, r.next = nil, 0 // most need none
	if !slices.ContainsFunc(r.series, silent) {
		return 0, 0
	}
	all, hists := r.series, r.hists
	bytes = r.bytes()
	r.series, r.hists, r.gauges = make([]series, 0, len(all)), nil, r.gauges[:0]
	for _, sr := range all {
		if silent(sr) {
			gone++
			continue
		}
		var h lastHistogram
		if sr.hist > 0 {
			h = hists[sr.hist-1]
		}
		r.add(sr, h)
	}
	r.next = 0
	r.partial = true
	return gone, bytes - r.bytes()
}

// series is the last known value of a stream. There are hundreds of thousands
// of them: what only some need is elsewhere, and what many have in common as well.
type series struct {
	key    uint64
	kind   kind
	failed bool  // calls of a duration series
	word   uint8 // of callTime, ejections, breakers
	open   bool  // an endpointBreaker, as of the last tick
	hist   int32 // 1 + its place in reporter.hists; 0: it is no distribution

	port  *port
	inst  *instance // of kinds that are of one; nil: there was no room for it
	told  *told
	value float64
}

// told is when a data point was made and came.
type told struct {
	start, time uint64 // by the reporter's clock, ns
	seen        int64  // by meshd's clock, ns
}

// never is told of a series of which nothing was.
var never = &told{}

// lastHistogram is what a duration series has more.
type lastHistogram struct {
	edge     *edge // of a client's; nil: there was no room
	count    uint64
	exemplar uint64 // time of the newest that was taken
	lost     bool   // packed is not there: the next value is a baseline
	packed   []byte
}

// freshStart is how young a reporter must be for its first values to be taken
// as what happened since it began; an older one met meshd late, and its totals
// are a baseline only.
const freshStart = 5 * time.Second

// tellsAll is how long it takes a sidecar to tell of what does not change.
const tellsAll = 20 * time.Second

// span decides which stretch of meshd's time a data point covers, given the
// one before it. ok is false when the point only sets the baseline, drop when it must
// be ignored; reset says that the series counts from zero.
func (s *series) span(r *reporter, p *point, now int64, isNew, knew bool) (from int64, reset, ok, drop bool) {
	start, at := p.start, p.time
	seen := s.told.seen
	if s.kind.sparse() { // and was not told again while it did not grow
		seen = max(seen, r.seen)
	}
	switch {
	case p.delta:
		if !isNew && at <= s.told.time && now-seen <= int64(staleAfter) {
			return 0, false, false, true
		}
		age := int64(at - start)
		if start == 0 || at < start {
			age = 0
		}
		return now - min(age, int64(forgetAfter)), true, true, false
	case isNew && knew && s.kind.sparse() && now < r.unheard:
		return 0, false, false, false
	case isNew && knew && (!r.partial || s.kind == endpointEjections):
		// New attributes of a reporter that we know: all of it is new. So are the
		// ejections of an endpoint that comes back, which begin anew.
		return r.seen, true, true, false
	case isNew:
		age := int64(at - start)
		if !knew && age > int64(freshStart) {
			r.unheard = now + int64(tellsAll)
		}
		return now - age, true, at >= start && age <= int64(freshStart), false
	case start < s.told.start && now-seen <= int64(staleAfter):
		// The late word of a process that another one has replaced.
		return 0, false, false, true
	case start < s.told.start:
		return 0, true, false, false // a clock was set back: begin anew
	case start > s.told.start:
		return seen, true, true, false // restarted
	case at <= s.told.time:
		return 0, false, false, true
	}
	return seen, false, true, false
}

func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n] + "…"
}
