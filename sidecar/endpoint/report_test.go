package endpoint

import (
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/xds/resource"
)

func TestReported(t *testing.T) {
	var r Reported
	if _, _, ok := r.Get(second); ok {
		t.Error("a report before there was one")
	}
	want := LoadReport{CPU: 0.5, Memory: 0.25, Application: 1.5, RPS: 100.5, EPS: 2}
	r.Set(0, want)
	if got, age, ok := r.Get(3 * second); !ok || got != want || age != 3*time.Second {
		t.Errorf("%+v, %v old, %v", got, age, ok)
	}
	r.Set(5*second, LoadReport{CPU: 0.1})
	if got, age, ok := r.Get(4 * second); !ok || got != (LoadReport{CPU: 0.1}) || age != 0 {
		t.Errorf("%+v, %v old, %v", got, age, ok)
	}
	if n := testing.AllocsPerRun(100, func() { r.Set(second, want); r.Get(second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewBreakersKeepTheReport(t *testing.T) {
	var none *Set
	set, _ := none.Update(&resource.Endpoints{Endpoints: []resource.Endpoint{res("10.0.0.1:80"), res("10.0.0.2:80")}},
		func(r resource.Endpoint) *Endpoint { return New(r, breaker.New("b", breaker.Config{}, nil), nil) })
	set.Endpoints()[0].Reported.Set(second, LoadReport{CPU: 0.75})
	next := set.WithBreakers(func(*Endpoint) *breaker.Breaker { return breaker.New("c", breaker.Config{}, nil) }).Endpoints()
	if got, age, ok := next[0].Reported.Get(2 * second); !ok || got.CPU != 0.75 || age != time.Second {
		t.Errorf("%+v, %v old, %v", got, age, ok)
	}
	if _, _, ok := next[1].Reported.Get(2 * second); ok {
		t.Error("a report came from nowhere")
	}
}

func TestConcurrentReports(t *testing.T) {
	var r Reported
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 2000 {
				v := float64(1 + i)
				r.Set(int64(i), LoadReport{CPU: v, Memory: v, Application: v, RPS: v, EPS: v})
				if got, _, ok := r.Get(int64(i)); !ok || got.CPU < 1 || got.EPS < 1 {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkReported(b *testing.B) {
	b.ReportAllocs()
	var r Reported
	for b.Loop() {
		r.Set(second, LoadReport{CPU: 0.5, RPS: 100})
	}
}
