// Package accesslog writes calls as lines of JSON: to a file, without a call
// ever waiting for it.
package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/meshd/meshd/sidecar/call"
)

const (
	// maxBuffered is how much may wait while what came before is being written:
	// a second of some thousand calls.
	maxBuffered = 1 << 20
	// enough is when lines are written at once; fewer wait for flushEvery.
	enough     = 64 << 10
	flushEvery = 100 * time.Millisecond
	// quiet is the least time between two complaints.
	quiet = 30 * time.Second
)

// A Log is one file. Write may be called from any goroutine.
type Log struct {
	out      io.WriteCloser
	what     string // the file's name
	reporter string
	log      *slog.Logger
	scratch  sync.Pool // *[]byte, for one line each

	mu     sync.Mutex
	buf    []byte // whole lines
	lines  uint64 // in buf
	closed bool

	some, much chan struct{} // buf is not empty; it has enough
	done       chan struct{}
	written    atomic.Uint64
	dropped    atomic.Uint64
}

// Counts are the lines so far.
type Counts struct {
	Written uint64
	Dropped uint64 // no room, or they could not be written
}

// Open opens a file to append to, which is made with mode 0640, or standard
// output for "-". reporter is the instance that every line names. The error
// says what is wrong with --access-log.
func Open(path, reporter string, log *slog.Logger) (*Log, error) {
	if path == "-" {
		return newLog(keepOpen{os.Stdout}, "standard output", reporter, log), nil
	}
	// Not blocking: a pipe that nobody reads is an error, and not a hang.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if errors.Is(err, syscall.ENXIO) {
		err = errors.New("nobody reads that pipe")
	}
	if err != nil {
		return nil, fmt.Errorf("--access-log %q: a file that can be appended to, or -, is accepted: %w", path, err)
	}
	return newLog(f, path, reporter, log), nil
}

// keepOpen is a file that is not ours to close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

func newLog(out io.WriteCloser, what, reporter string, log *slog.Logger) *Log {
	l := &Log{
		out: out, what: what, reporter: reporter, log: log,
		scratch: sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }},
		some:    make(chan struct{}, 1), much: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// Write adds a call's line, or drops and counts it. It neither blocks nor keeps
// the Entry.
func (l *Log) Write(e *call.Entry) {
	b := l.scratch.Get().(*[]byte)
	*b = AppendLine((*b)[:0], e, l.reporter, nil)
	l.add(*b)
	l.scratch.Put(b)
}

func (l *Log) add(line []byte) {
	l.mu.Lock()
	if l.closed || len(l.buf)+len(line) > maxBuffered {
		l.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	was := len(l.buf)
	l.buf = append(l.buf, line...)
	l.lines++
	is := len(l.buf)
	l.mu.Unlock()
	if was == 0 {
		signal(l.some)
	}
	if was < enough && is >= enough {
		signal(l.much)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes what has come: two buffers take turns.
func (l *Log) run() {
	defer close(l.done)
	timer := time.NewTimer(flushEvery)
	defer timer.Stop()
	var spare []byte
	var complained time.Time
	for range l.some {
		timer.Reset(flushEvery)
		select {
		case <-timer.C:
		case <-l.much:
		}
		l.mu.Lock()
		batch, lines, closed := l.buf, l.lines, l.closed
		l.buf, l.lines = spare[:0], 0
		l.mu.Unlock()
		if len(batch) > 0 {
			if _, err := l.out.Write(batch); err != nil {
				l.dropped.Add(lines)
				if now := time.Now(); now.Sub(complained) >= quiet {
					complained = now
					l.log.Warn("the access log cannot be written: lines are lost, and counted in meshd.access_log.dropped", "file", l.what, "error", err,
						"next", "see that there is room and that the file can be written to")
				}
			} else {
				l.written.Add(lines)
			}
		}
		if spare = batch; cap(spare) > maxBuffered/4 {
			spare = nil // what one burst needed
		}
		if closed {
			return
		}
	}
}

// Counts reads the counts.
func (l *Log) Counts() Counts {
	return Counts{Written: l.written.Load(), Dropped: l.dropped.Load()}
}

// Close writes what waits, as far as ctx allows, and closes the file. Lines
// that come later are dropped. Where standard output takes nothing, its
// goroutine lives until it does.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	signal(l.some)
	signal(l.much)
	select {
	case <-l.done:
		return l.out.Close()
	case <-ctx.Done():
		_ = l.out.Close() // ends the write to a pipe
		return fmt.Errorf("the access log %s takes nothing: %w", l.what, ctx.Err())
	}
}
