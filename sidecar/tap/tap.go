// Package tap shows calls live, as they end, to whoever asks for them on the
// admin port. While nobody does, nothing is done for it.
package tap

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
)

const (
	maxReaders = 4
	// maxWaiting are the lines that wait for a reader; what comes then is lost.
	maxWaiting = 256
	// tellEvery is how often a reader hears of what it has missed.
	tellEvery = time.Second
	// writeTimeout ends a reader that takes nothing for so long.
	writeTimeout = 10 * time.Second
)

// A Hub has the readers of one sidecar's calls. All methods may be called from
// any goroutine.
type Hub struct {
	at       *atomic.Pointer[call.Tap]
	now      func() int64
	instance string

	mu      sync.Mutex
	readers []*reader // replaced, never changed: calls read it without the lock
	closed  chan struct{}
	work    sync.WaitGroup
}

// A reader is one request to ServeHTTP.
type reader struct {
	filter     Filter
	rate       *breaker.Bucket
	lines      chan []byte
	over, lost atomic.Uint64
}

// New makes a Hub that puts itself at a tracer's Tap while there are readers.
// now is the engine's clock, in ns; instance is this sidecar's own.
func New(at *atomic.Pointer[call.Tap], now func() int64, instance string) *Hub {
	return &Hub{at: at, now: now, instance: instance, closed: make(chan struct{})}
}

// Close ends the readers and waits for them.
func (h *Hub) Close() {
	h.mu.Lock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
	h.mu.Unlock()
	h.work.Wait()
}

var (
	errCrowd  = fmt.Errorf("%d readers tap this sidecar already: as many as can", maxReaders)
	errClosed = errors.New("the sidecar ends")
)

func (h *Hub) join(f Filter) (*reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
		return nil, errClosed
	default:
	}
	if len(h.readers) >= maxReaders {
		return nil, errCrowd
	}
	r := &reader{filter: f, rate: breaker.NewBucket(f.PerSecond, f.PerSecond), lines: make(chan []byte, maxWaiting)}
	h.work.Add(1)
	h.set(append(slices.Clone(h.readers), r))
	return r, nil
}

func (h *Hub) leave(r *reader) {
	h.mu.Lock()
	h.set(slices.DeleteFunc(slices.Clone(h.readers), func(x *reader) bool { return x == r }))
	h.mu.Unlock()
	h.work.Done()
}

// set needs h.mu. From then on calls see these readers, and only these.
func (h *Hub) set(readers []*reader) {
	h.readers = readers
	if len(readers) == 0 {
		h.at.Store(nil)
		return
	}
	tap := &call.Tap{End: func(e *call.Entry) {
		for _, r := range readers {
			r.offer(e, h.instance, h.now())
		}
	}}
	for _, r := range readers {
		for _, name := range r.filter.Headers {
			if !slices.Contains(tap.Headers, name) {
				tap.Headers = append(tap.Headers, name)
			}
		}
	}
	h.at.Store(tap)
}

// offer never blocks.
func (r *reader) offer(e *call.Entry, instance string, now int64) {
	if !r.filter.match(e, instance) {
		return
	}
	if ok, _ := r.rate.Take(now); !ok {
		r.over.Add(1)
		return
	}
	if len(r.lines) == cap(r.lines) { // spares the copy; another call may still take the place
		r.lost.Add(1)
		return
	}
	select {
	case r.lines <- line(e, &r.filter, instance):
	default:
		r.lost.Add(1)
	}
}

func (r *reader) missed() Missed { return Missed{Over: r.over.Load(), Lost: r.lost.Load()} }

// ServeHTTP is GET /tap: calls that match the query (ParseFilter), one JSON
// object a line (accesslog.AppendLine), as they end, and {"missed":{…}} (Missed)
// whenever that has changed within a second. It ends with the request, or with Close.
func (h *Hub) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f, err := ParseFilter(req.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r, err := h.join(f)
	if err != nil {
		code := http.StatusServiceUnavailable
		if errors.Is(err, errCrowd) {
			code = http.StatusTooManyRequests
		}
		http.Error(w, err.Error(), code)
		return
	}
	defer h.leave(r)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	o := output{w, http.NewResponseController(w)}
	if o.flush() != nil {
		return
	}
	tell := time.NewTicker(tellEvery)
	defer tell.Stop()
	var told Missed
	for {
		select {
		case l := <-r.lines:
			err = o.write(l, r.lines)
		case <-tell.C:
			if m := r.missed(); m != told {
				told = m
				err = o.write(fmt.Appendf(nil, `{"missed":{"over":%d,"lost":%d}}`+"\n", m.Over, m.Lost), nil)
			}
		case <-req.Context().Done():
			return
		case <-h.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

// An output is a reader's connection.
type output struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (o *output) flush() error {
	_ = o.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer of tests has none
	return o.control.Flush()
}

// write writes a line and those that wait, and sends them.
func (o *output) write(line []byte, more <-chan []byte) error {
	_ = o.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := o.w.Write(line); err != nil {
		return err
	}
	for range len(more) {
		if _, err := o.w.Write(<-more); err != nil {
			return err
		}
	}
	return o.flush()
}
