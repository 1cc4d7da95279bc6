package listener

import (
	"errors"
	"net"
	"time"
)

// Serve accepts connections until Close and then returns nil; it may run on several
// goroutines. Each connection gets a goroutine that calls handle; the connection is
// handle's to close and counts against MaxConns until handle returns.
//
// A failing accept never ends Serve and never spins: it waits, from 5 ms doubling to 1 s,
// while descriptors or memory are short (EMFILE, ENFILE, ENOBUFS, ENOMEM).
func (l *Listener) Serve(handle func(*net.TCPConn)) error {
	if !l.begin() {
		return nil
	}
	defer l.serving.Done()
	backoff := time.Duration(0)
	for {
		select {
		case <-l.closing:
			return nil
		case l.slots <- struct{}{}:
		}
		c, err := l.accept()
		if err != nil {
			<-l.slots
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if backoff == 0 {
				l.log.Warn("accept fails; waiting", "listener", l.addr, "err", err,
					"next", "raise the limit of open files, or lower --max-connections")
			}
			backoff = min(max(2*backoff, backoffMin), backoffMax)
			if !l.pause(backoff) {
				return nil
			}
			continue
		}
		if backoff != 0 {
			l.log.Info("accepting again", "listener", l.addr)
			backoff = 0
		}
		l.conns.Add(1)
		go func() {
			defer l.conns.Done()
			defer func() { <-l.slots }()
			handle(c)
		}()
	}
}

// begin counts an accept loop; false: the listener is closed.
func (l *Listener) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.serving.Add(1)
	return true
}

// pause waits for d; false: the listener was closed meanwhile.
func (l *Listener) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.closing:
		return false
	case <-t.C:
		return true
	}
}
