package health

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setOf makes, from a set, one of the endpoints of these numbers.
func setOf(from *endpoint.Set, numbers ...int) *endpoint.Set {
	return setWith(breaker.Config{Disabled: true}, from, numbers...)
}

func setWith(b breaker.Config, from *endpoint.Set, numbers ...int) *endpoint.Set {
	made := func(r resource.Endpoint) *endpoint.Endpoint {
		return endpoint.New(r, breaker.New(r.Addr.String(), b, nil), nil)
	}
	res := &resource.Endpoints{}
	for _, i := range numbers {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		res.Endpoints = append(res.Endpoints, resource.Endpoint{Addr: addr, ID: fmt.Sprint(i), Weight: 1})
	}
	set, _ := from.Update(res, made)
	return set
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// A journal keeps events in words, with the seconds at which they came.
type journal struct {
	mu    sync.Mutex
	start time.Time
	lines []string
	all   []Event
}

func (j *journal) event(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%v %v", time.Since(j.start).Round(time.Second), e))
	j.all = append(j.all, e)
}

func (j *journal) text() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) events() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.all)
}

// fake is the Config of a test in a bubble.
func fake() (Config, *journal) {
	j := &journal{start: time.Now()}
	start := time.Now()
	return Config{Now: func() int64 { return int64(time.Since(start)) }, Event: j.event}, j
}

func rng() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
