package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// A scope is the life of one run. It is what the test kit takes for a test: what
// is started in it ends with it, and Fatal ends the run. Its methods are safe
// for concurrent use, but Fatal is for the goroutine that runs it.
type scope struct {
	testing.TB // nil: what is not below is not called

	name  string
	envoy string // its path
	mu    sync.Mutex
	ends  []func()
	errs  []error
}

// aborted is what Fatal panics with.
type aborted struct{}

// within runs f in a scope and returns what it, or the kit, found wrong.
func within(name, envoy string, f func(*scope)) error {
	s := &scope{name: name, envoy: envoy}
	s.run(f)
	return errors.Join(s.errs...)
}

func (s *scope) run(f func(*scope)) {
	defer s.end()
	defer s.recovered()
	f(s)
}

// within runs f in a scope of its own, that ends before s does; what is wrong
// in it ends s, too.
func (s *scope) within(name string, f func(*scope)) {
	inner := &scope{name: s.name + ", " + name, envoy: s.envoy}
	inner.run(f)
	s.must(errors.Join(inner.errs...))
}

// recovered takes a Fatal's panic, and no other.
func (s *scope) recovered() {
	switch r := recover().(type) {
	case nil, aborted:
	default:
		panic(r)
	}
}

func (s *scope) end() {
	for {
		s.mu.Lock()
		n := len(s.ends)
		if n == 0 {
			s.mu.Unlock()
			return
		}
		last := s.ends[n-1]
		s.ends = s.ends[:n-1]
		s.mu.Unlock()
		func() {
			defer s.recovered()
			last()
		}()
	}
}

func (s *scope) Helper() {}

func (s *scope) Name() string { return s.name }

func (s *scope) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, f)
}

func (s *scope) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, fmt.Errorf("%s: %s", s.name, fmt.Sprintf(format, args...)))
}

func (s *scope) Fatal(args ...any) {
	s.Errorf("%s", fmt.Sprint(args...))
	panic(aborted{})
}

func (s *scope) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(aborted{})
}

func (s *scope) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.errs) > 0
}

// Logf is what the kit tells once something failed: it goes with the error.
func (s *scope) Logf(format string, args ...any) { s.Errorf(format, args...) }

func (s *scope) TempDir() string {
	dir, err := os.MkdirTemp("", "meshd-scenarios-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// must ends the run if something failed.
func (s *scope) must(err error) {
	if err != nil {
		s.Fatal(err)
	}
}

// both runs functions at the same time and waits for all of them.
func both(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}
