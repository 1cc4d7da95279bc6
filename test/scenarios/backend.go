package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Headers of the scenarios: callHeader marks the calls that count, and
// instanceHeader says who has answered.
const (
	callHeader     = "x-scenario-call"
	instanceHeader = "x-instance"
)

// An instance is one backend: a server that does as its behaviour says.
type instance struct {
	name  string
	next  *next // where it calls on; nil: nowhere
	calls atomic.Int64
	idle  sync.Map // net.Conn, since when; of closingIdle

	mu      sync.Mutex
	b       behaviour
	changed chan struct{} // closed when b is no longer what it is
	workers chan struct{} // a token for each call worked on; nil: no bound
}

func newInstance(name string, b behaviour) *instance {
	i := &instance{name: name, changed: make(chan struct{})}
	i.behave(b)
	return i
}

// behave changes the behaviour. Calls that wait for a worker keep waiting for
// the workers that there were, unless their number has stayed.
func (i *instance) behave(b behaviour) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if b.Workers != cap(i.workers) {
		i.workers = nil
		if b.Workers > 0 {
			i.workers = make(chan struct{}, b.Workers)
		}
	}
	i.b = b
	close(i.changed)
	i.changed = make(chan struct{})
}

func (i *instance) now() (b behaviour, changed, workers chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.b, i.changed, i.workers
}

// connKey is the context key of a request's net.Conn.
type connKey struct{}

// server is the instance's, of HTTP/1.1 and HTTP/2 without TLS.
func (i *instance) server() *http.Server {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: i, Protocols: p,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:   i.track,
	}
}

// track closes connections that are idle, if that is the fault. A call may be
// on its way meanwhile, as in life.
func (i *instance) track(c net.Conn, s http.ConnState) {
	if s != http.StateIdle {
		i.idle.Delete(c)
		return
	}
	if b, _, _ := i.now(); b.Fault == closingIdle {
		since := time.Now()
		i.idle.Store(c, since)
		time.AfterFunc(rand.N(10*time.Millisecond), func() {
			if i.idle.CompareAndDelete(c, since) {
				c.Close()
			}
		})
	}
}

// ServeHTTP answers whatever is asked. Health checks are treated as calls are,
// and do not count.
func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(callHeader) != "" {
		i.calls.Add(1)
	}
	body, _ := io.ReadAll(r.Body) // a broken one shows when the answer is written
	b, changed, workers := i.now()
	switch b.Fault {
	case stuck:
		select {
		case <-r.Context().Done():
			return
		case <-changed: // what it kept, it works on late
		}
	case halfAnswer, resets, garbage:
		breakOff(r, b.Fault)
		return
	}
	if b.Status != 0 {
		i.head(w, r, b.Status)
		return
	}
	if r.URL.Path == "/healthz" {
		i.head(w, r, http.StatusOK)
		return
	}
	if workers != nil {
		workers <- struct{}{}
		defer func() { <-workers }()
	}
	for b, changed, _ = i.now(); b.Fault == stopped; b, changed, _ = i.now() {
		<-changed
	}
	pause(b.takes())
	if i.next != nil {
		i.head(w, r, i.next.call(r))
		return
	}
	i.answer(w, r, body)
}

// pause is the work.
func pause(d time.Duration) {
	if d > 0 {
		time.Sleep(d)
	}
}

func isGRPC(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// head is an answer without a body; of gRPC, the status that says the same.
func (i *instance) head(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set(instanceHeader, i.name)
	if isGRPC(r) {
		code := map[int]string{http.StatusOK: "0", http.StatusServiceUnavailable: "14"}[status]
		if code == "" {
			code = "13" // INTERNAL
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", code) // no message: trailers only
		return
	}
	w.WriteHeader(status)
}

// Streams are streamMessages messages, one in streamPause.
const (
	streamMessages = 5
	streamPause    = 40 * time.Millisecond
)

func (i *instance) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set(instanceHeader, i.name)
	if !isGRPC(r) {
		_, _ = fmt.Fprintf(w, "%s has served %d bytes\n", i.name, len(body)) // the caller may be gone
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	n := 1
	if r.URL.Path == streamMethod {
		n = streamMessages
	}
	for k := range n {
		if k > 0 {
			pause(streamPause)
		}
		if _, err := w.Write(body); err != nil { // the request's message, in its frame
			return
		}
		_ = http.NewResponseController(w).Flush()
	}
	w.Header().Set("Grpc-Status", "0")
}

// breakOff ends the connection of r in one of the ways.
func breakOff(r *http.Request, f fault) {
	c, _ := r.Context().Value(connKey{}).(*net.TCPConn)
	if c == nil {
		panic(http.ErrAbortHandler)
	}
	switch {
	case f == resets:
		_ = c.SetLinger(0)
	case f == garbage:
		_, _ = io.WriteString(c, "\x16\x03\x01 this is no HTTP of any version\r\n\r\n")
	case r.ProtoMajor == 2: // half of a HEADERS frame
		_, _ = io.WriteString(c, "\x00\x00\x20\x01\x04\x00\x00\x00\x01\x88\x5f")
	default:
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/pl")
	}
	c.Close()
	panic(http.ErrAbortHandler)
}

// A next is a further service that an application calls for each call, through
// its own sidecar, as an application does that knows nothing of a mesh: it
// forwards traceparent and nothing else.
type next struct {
	addr, host string
	client     *http.Client
}

func newNext(addr, host string) *next {
	return &next{addr, host, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: time.Minute}}
}

// call returns the status to answer with.
func (n *next) call(in *http.Request) int {
	out, err := http.NewRequestWithContext(in.Context(), http.MethodGet, "http://"+n.addr+"/", nil)
	if err != nil {
		return http.StatusInternalServerError
	}
	out.Host = n.host
	out.Header.Set(callHeader, "1")
	if t := in.Header.Get("traceparent"); t != "" {
		out.Header.Set("traceparent", t)
	}
	resp, err := n.client.Do(out)
	if err != nil {
		return http.StatusBadGateway
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// backendMain is a child that hosts instances until ctx ends.
func backendMain(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("backend", flag.ContinueOnError)
	control := f.String("control", "", "where it is told what to do")
	names := f.String("names", "", "of the instances")
	delay := f.Duration("delay", 0, "before it listens")
	first := f.String("behaviour", "{}", "of all of them, as JSON")
	nextAddr := f.String("next-addr", "", "the sidecar that it calls on through")
	nextHost := f.String("next-host", "", "the service that it calls on")
	if err := f.Parse(args); err != nil {
		return err
	}
	var b behaviour
	if err := json.Unmarshal([]byte(*first), &b); err != nil {
		return fmt.Errorf("--behaviour: %w", err)
	}
	pause(*delay)
	var instances []*instance
	errs := make(chan error, f.NArg()+1)
	var servers []*http.Server
	serve := func(addr string, s *http.Server) error {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		go func() { errs <- s.Serve(l) }()
		return nil
	}
	for n, name := range strings.Split(*names, ",") {
		i := newInstance(name, b)
		if *nextAddr != "" {
			i.next = newNext(*nextAddr, *nextHost)
		}
		instances = append(instances, i)
		if err := serve(f.Arg(n), i.server()); err != nil {
			return err
		}
	}
	if err := serve(*control, &http.Server{Handler: controlOf(instances)}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err := <-errs:
		return err
	}
	// As applications end: no new calls, those under way come to their end.
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var all []error
	for _, s := range servers[:len(servers)-1] {
		all = append(all, s.Shutdown(limit))
	}
	return errors.Join(all...)
}

// controlOf is how the harness speaks to a child.
func controlOf(instances []*instance) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /behave/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		var b behaviour
		if err == nil {
			err = json.NewDecoder(r.Body).Decode(&b)
		}
		if err != nil || n < 0 || n >= len(instances) {
			http.Error(w, fmt.Sprint("no such instance, or no behaviour: ", err), http.StatusBadRequest)
			return
		}
		instances[n].behave(b)
	})
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		var all []int64
		for _, i := range instances {
			all = append(all, i.calls.Load())
		}
		_ = json.NewEncoder(w).Encode(all) // the harness may be gone
	})
	return mux
}
