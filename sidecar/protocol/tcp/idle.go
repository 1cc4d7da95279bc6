package tcp

import (
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// idleTicks is how many looks the idle timeout is divided into.
const idleTicks = 4

// watchIdle aborts the relay once nothing has moved for timeout. It asks the kernel what
// arrived and what was acknowledged instead of setting deadlines: a splice that runs for
// hours does not return to say that it is alive, and one blocked by a peer that takes
// nothing looks just the same from outside.
//
// The function returned ends the watch; afterwards nothing is aborted any more.
func (r *relay) watchIdle(timeout time.Duration) (stop func()) {
	if timeout <= 0 {
		return func() {}
	}
	m := meter{last: r.progress()}
	tick := max(timeout/idleTicks, time.Millisecond)
	var mu sync.Mutex // guards the rest; held by a look
	var t *time.Timer // not a goroutine of its own: idle connections are many
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	t = time.AfterFunc(tick, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case stopped:
		case m.idle(r.progress()):
			r.abort(Idle, A, ErrIdle)
		default:
			t.Reset(tick)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		t.Stop()
	}
}

// meter counts looks without progress.
type meter struct {
	last  uint64
	quiet int
}

// idle takes the progress made in all and reports whether there was none for idleTicks
// looks.
func (m *meter) idle(progress uint64) bool {
	if progress != m.last {
		m.last, m.quiet = progress, 0
		return false
	}
	m.quiet++
	return m.quiet >= idleTicks
}

// progress is a number that changes when a byte arrives on or is acknowledged by either
// peer.
func (r *relay) progress() uint64 {
	var sum uint64
	for i := range r.ways {
		sum += uint64(r.ways[i].moved.Load()) + transferred(r.ways[i].src)
	}
	return sum
}

func transferred(c *net.TCPConn) uint64 {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var n uint64
	raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Bytes_received + info.Bytes_acked
		}
	})
	return n
}
