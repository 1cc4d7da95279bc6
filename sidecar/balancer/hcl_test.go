package balancer

import (
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

const sometime = int64(time.Minute)

// poolOf makes hcl over n endpoints, with a Prober that only counts.
func poolOf(n int) (*hcl, *endpoint.Set, *int) {
	asked := 0
	cfg := &Config{Balancing: resource.DefaultBalancing(), Probe: func(*Pool, *endpoint.Endpoint) { asked++ }}
	set := cluster(n, brittle, nil)
	var g group
	for _, e := range set.Endpoints() {
		g = append(g, cfg.member(e))
	}
	return newHCL(cfg, g).(*hcl), set, &asked
}

func TestHotAndCold(t *testing.T) {
	type told struct {
		inflight int64
		latency  time.Duration
	}
	for _, c := range []struct {
		what string
		told []told
		want string
	}{
		{"the quickest of the cold", []told{{3, 20}, {2, 10}, {3, 30}, {9, 1}}, "1"},
		{"all equal in calls: the quickest", []told{{3, 20}, {3, 10}, {3, 5}}, "2"},
		{"a hot one is never chosen, quick as it is", []told{{1, 90}, {1, 80}, {1, 70}, {1, 60}, {50, 1}}, "3"},
	} {
		h, set, _ := poolOf(20)
		for i, a := range c.told {
			h.pool.Answer(set.Endpoints()[i], a.inflight, a.latency, sometime)
		}
		if m := h.choose(Info{Now: sometime}, false); m.endpoint.ID != c.want {
			t.Errorf("%s: chose %s, want %s", c.what, m.endpoint.ID, c.want)
		}
	}
}

func TestAnswersAgeAndAreUsedUp(t *testing.T) {
	h, set, asked := poolOf(200)
	tell := func() {
		for i, e := range set.Endpoints()[:10] {
			h.pool.Answer(e, 1, time.Duration(i+1), sometime)
		}
	}
	tell()
	if h.pool.take(&Info{Now: sometime + int64(probeLife) + 1}, false) != nil || h.pool.n != 0 {
		t.Errorf("%d answers older than their life", h.pool.n)
	}
	tell()
	uses := 0
	for h.pool.take(&Info{Now: sometime}, false) != nil {
		if uses++; uses > 100 {
			t.Fatal("answers are never used up")
		}
	}
	if uses < 5 {
		t.Errorf("used up after %d calls", uses)
	}
	if *asked != 0 {
		t.Errorf("taking asked %d questions", *asked)
	}
	for range 100 {
		h.choose(Info{Now: sometime}, false)
	}
	if *asked != 100*probeRate {
		t.Errorf("%d questions for 100 calls", *asked)
	}
}

// One answer of an endpoint is kept, the oldest makes way, and an endpoint that
// has left has no say.
func TestPoolIsBounded(t *testing.T) {
	h, set, _ := poolOf(50)
	for i, e := range set.Endpoints() {
		h.pool.Answer(e, 1, 1, sometime+int64(i))
		h.pool.Answer(e, 2, 2, sometime+int64(i))
	}
	if h.pool.n != poolSize {
		t.Errorf("%d answers", h.pool.n)
	}
	for _, a := range h.pool.answers {
		if a.at < sometime+50-poolSize || a.inflight != 2 {
			t.Errorf("an answer of %d, with %d calls", a.at-sometime, a.inflight)
		}
	}
	h.pool.Answer(cluster(1, breaker.Config{}, nil).Endpoints()[0], 0, 0, sometime+100)
	if h.pool.answers[0].inflight == 0 {
		t.Error("a stranger's answer was taken")
	}
}

func TestHCLAvoidsTriedAndOpen(t *testing.T) {
	h, set, _ := poolOf(4)
	for i, e := range set.Endpoints() {
		h.pool.Answer(e, 1, time.Duration(i+1), sometime)
	}
	trip(set.Endpoints()[1])
	m := h.pool.take(&Info{Now: sometime, Tried: set.Endpoints()[:1]}, false)
	if m == nil || m.endpoint.ID != "2" {
		t.Errorf("took %v, want 2", m)
	}
}

func TestGauge(t *testing.T) {
	var g Gauge
	if n, l := g.Read(0); n != 0 || l != 0 {
		t.Errorf("of nothing: %d, %v", n, l)
	}
	at := int64(0)
	call := func(met int64, latency time.Duration) {
		at += int64(time.Millisecond)
		g.Begin()
		g.End(met, latency, at)
	}
	for i := range 20 {
		call(0, time.Duration(10+i%3)*time.Millisecond)
		call(4, 50*time.Millisecond)
	}
	if n, l := g.Read(at); n != 0 || l < 10*time.Millisecond || l > 12*time.Millisecond {
		t.Errorf("idle: %d, %v", n, l)
	}
	for want := range int64(5) {
		if met := g.Begin(); met != want {
			t.Errorf("met %d, want %d", met, want)
		}
	}
	if n, l := g.Read(at); n != 5 || l != 50*time.Millisecond {
		t.Errorf("with five: %d, %v; the nearest is 50 ms", n, l)
	}
	g.Cancel()
	if n, l := g.Read(at + int64(gaugeLife)); n != 4 || l != 0 {
		t.Errorf("long after: %d, %v", n, l)
	}
}

func TestGaugeBuckets(t *testing.T) {
	last := 0
	for n := range int64(5000) {
		b := bucketOf(n)
		if b < last || b > last+1 || b >= gaugeBuckets {
			t.Fatalf("%d calls are in bucket %d, after %d", n, b, last)
		}
		last = b
	}
	if bucketOf(7) != 7 || bucketOf(8) != 8 || bucketOf(1<<40) != gaugeBuckets-1 || bucketOf(-1) != 0 {
		t.Error("buckets are not where they should be")
	}
}
