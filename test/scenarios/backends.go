package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// A backend is one instance, as the harness sees it.
type backend struct {
	name, addr string
	host       *backendHost
	index      int // in its host
}

// A backendHost is a child that hosts instances.
type backendHost struct {
	*process.Process
	spec    backendSpec
	control string
	all     []*backend
	client  *http.Client
}

// A backendSpec says what a child hosts.
type backendSpec struct {
	service   string // the constant if empty
	names     []string
	behaviour behaviour
	delay     time.Duration // before it listens
	nextAddr  string        // where its applications call on, and whom
	nextHost  string
}

// names are n of them, from name-0 on.
func names(name string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", name, i))
	}
	return all
}

// host starts a child and waits until it serves, unless that has a delay.
func (s *scope) host(spec backendSpec) *backendHost {
	h := s.plan(spec)
	h.start(s)
	return h
}

// plan is a child that is not started yet.
func (s *scope) plan(spec backendSpec) *backendHost {
	a := rig.Addrs(s, len(spec.names)+1)
	tr := &http.Transport{}
	s.Cleanup(tr.CloseIdleConnections)
	if spec.service == "" {
		spec.service = service
	}
	h := &backendHost{spec: spec, control: a[0], client: &http.Client{Transport: tr, Timeout: 5 * time.Second}}
	for i, name := range spec.names {
		h.all = append(h.all, &backend{name, a[i+1], h, i})
	}
	return h
}

// start starts the child, again on the same addresses if it has been before.
func (h *backendHost) start(s *scope) {
	self, err := os.Executable()
	s.must(err)
	b, err := json.Marshal(h.spec.behaviour)
	s.must(err)
	args := []string{"backend", "--control", h.control, "--names", strings.Join(h.spec.names, ","),
		"--delay", h.spec.delay.String(), "--behaviour", string(b), "--next-addr", h.spec.nextAddr, "--next-host", h.spec.nextHost}
	for _, x := range h.all {
		args = append(args, x.addr)
	}
	h.Process = process.Run(s, process.Spec{Name: "backend", Path: self, Args: args})
	if h.spec.delay == 0 {
		process.Await(s, rig.Patience, func() error { _, err := h.counts(); return err })
	}
}

// behave changes what an instance does.
func (b *backend) behave(s *scope, to behaviour) {
	body, err := json.Marshal(to)
	s.must(err)
	resp, err := b.host.client.Post(fmt.Sprintf("http://%s/behave/%d", b.host.control, b.index), "application/json", bytes.NewReader(body))
	s.must(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("%s: %s", b.name, resp.Status)
	}
}

// counts are the calls that the instances have had.
func (h *backendHost) counts() ([]int64, error) {
	resp, err := h.client.Get("http://" + h.control + "/calls")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all []int64
	return all, json.NewDecoder(resp.Body).Decode(&all)
}

// calls are those of one instance, and of all.
func (h *backendHost) calls(s *scope) (each []int64, sum int64) {
	each, err := h.counts()
	s.must(err)
	for _, n := range each {
		sum += n
	}
	return each, sum
}
