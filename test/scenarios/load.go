package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A load is calls at a rate, whatever becomes of those before (open loop): a
// call's latency counts from when it was due, so that a stall costs every call
// that it kept from being made. Nothing is tried again.
type load struct {
	Addr     string // where the proxy listens
	Host     string // the service's name
	Kind     kind
	Path     string // "/" if empty
	Rate     float64
	For      time.Duration
	Patience time.Duration // with one call; 10 s if 0
	// Headers are further header lines of the nth call, and its class; nil:
	// none, and 0.
	Headers func(n int) (lines string, class int)
	// Each, if set, is told of each call when it ends, from any goroutine.
	Each func(record)
}

// A kind is what a call is.
type kind int

// The kinds.
const (
	get kind = iota
	post
	unary
	stream
)

func (k kind) String() string { return [...]string{"GET", "POST", "unary", "stream"}[k] }

// run makes the calls, waits for all of them, and returns them in the order in
// which they were due. When ctx ends no more are made.
func (l load) run(ctx context.Context) result {
	if l.Patience == 0 {
		l.Patience = 10 * time.Second
	}
	if l.Path == "" {
		l.Path = "/"
	}
	var call func(n int, r *record)
	if l.Kind == unary || l.Kind == stream {
		c := newGRPC(l)
		defer c.close()
		call = c.call
	} else {
		c := newHTTP(l)
		defer c.close()
		call = c.call
	}
	var mu sync.Mutex
	var all result
	var wg sync.WaitGroup
	// The calls come as they do from many callers: at random moments.
	random := rand.New(rand.NewPCG(1, uint64(l.Kind)))
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for n, due := 0, time.Duration(0); ; n++ {
		due += time.Duration(random.ExpFloat64() / l.Rate * float64(time.Second))
		if due >= l.For {
			break
		}
		if wait := due - time.Since(began); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			r := record{Due: due}
			call(n, &r)
			r.Latency = time.Since(began) - due
			mu.Lock()
			all = append(all, r)
			mu.Unlock()
			if l.Each != nil {
				l.Each(r)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b record) int { return int(a.Due - b.Due) })
	return all
}

// closed is what n callers get who call again as soon as they have an answer:
// the peak of what there is.
func (l load) closed(n int) result {
	if l.Patience == 0 {
		l.Patience = 10 * time.Second
	}
	if l.Path == "" {
		l.Path = "/"
	}
	c := newHTTP(l)
	defer c.close()
	var mu sync.Mutex
	var all result
	var wg sync.WaitGroup
	began := time.Now()
	for range n {
		wg.Go(func() {
			for {
				r := record{Due: time.Since(began)}
				if r.Due >= l.For {
					return
				}
				c.call(0, &r)
				r.Latency = time.Since(began) - r.Due
				mu.Lock()
				all = append(all, r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b record) int { return int(a.Due - b.Due) })
	return all
}
