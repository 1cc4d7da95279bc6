package supervise

import (
	"bytes"
	"io"
	"sync"
)

// maxLine bounds what is kept of a line before its end is seen; a longer one
// is written in pieces.
const maxLine = 16 << 10

// NewOutput makes w safe for the concurrent writes of several children.
func NewOutput(w io.Writer) io.Writer { return &output{w: w} }

type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// lines cuts a child's output into lines and writes each behind a prefix, in
// one Write. It belongs to one stream of one process and is not safe for
// concurrent use. Errors of w are dropped: a child must not block or die
// because nobody reads its output.
type lines struct {
	w      io.Writer
	prefix string
	part   []byte // of a line whose end has not been seen
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		rest := p[i+1:]
		if i < 0 {
			i, rest = len(p), nil
		}
		whole := i < len(p)
		if room := maxLine - len(l.part); i > room {
			i, rest, whole = room, p[room:], true
		}
		l.part = append(l.part, p[:i]...)
		if whole {
			l.put()
		}
		p = rest
	}
	return n, nil
}

// flush writes what has no end of line.
func (l *lines) flush() {
	if len(l.part) > 0 {
		l.put()
	}
}

func (l *lines) put() {
	line := bytes.TrimSuffix(l.part, []byte("\r"))
	out := make([]byte, 0, len(l.prefix)+len(line)+1)
	out = append(append(append(out, l.prefix...), line...), '\n')
	l.w.Write(out)
	l.part = l.part[:0]
}
