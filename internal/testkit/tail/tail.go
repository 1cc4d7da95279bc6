// Package tail keeps the end of what a child process writes, to be shown when
// it fails.
package tail

import (
	"bytes"
	"sync"
)

const size = 8 << 10

// A Buffer is an io.Writer that keeps the last 8 KiB. Any goroutine may use it;
// the zero Buffer is ready.
type Buffer struct {
	mu sync.Mutex
	b  []byte
}

// Write never fails.
func (t *Buffer) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-size):]
	return len(b), nil
}

// String is what is kept, white space trimmed from both ends.
func (t *Buffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
