// Package load asks endpoints how much they have to do, and answers those who
// ask: a datagram each way between the sidecars, on the port number of the
// inbound listener. A balancer of the kind of Prequal asks three endpoints a
// call; over HTTP that would cost as much as the call.
//
// A question is Size bytes, as is its answer, so that nobody gains by asking in
// another's name. What is lost is not asked again: the next call asks.
//
//	0  "meshload"      8 bytes
//	8  number          8 bytes, the asker's, which the answer repeats
//	16 calls in flight 4 bytes, of the answer, big endian
//	20 latency         8 bytes, ns, of the answer
//	28 zero            4 bytes
package load

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
)

// Size is that of a datagram, in bytes.
const Size = 32

const magic = "meshload"

func valid(b []byte) bool { return len(b) == Size && string(b[:8]) == magic }

// Answer answers questions on c until that is closed. read is what the
// application has to do now; it must not block.
func Answer(c *net.UDPConn, read func() (inflight int64, latency time.Duration)) {
	var b [Size + 1]byte
	for {
		n, from, err := c.ReadFromUDPAddrPort(b[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !valid(b[:n]) {
			continue
		}
		inflight, latency := read()
		binary.BigEndian.PutUint32(b[16:], uint32(max(inflight, 0)))
		binary.BigEndian.PutUint64(b[20:], uint64(max(latency, 0)))
		_, _ = c.WriteToUDPAddrPort(b[:Size], from)
	}
}

// An Asker puts questions to endpoints. Its methods may be called from any
// goroutine.
type Asker struct {
	conn *net.UDPConn
	now  func() int64
	done sync.WaitGroup
	next atomic.Uint64

	mu   sync.Mutex
	open [window]question // by number modulo window
}

// window bounds the questions that wait for an answer; older ones are forgotten.
const window = 1024

type question struct {
	number uint64
	at     int64
	pool   *balancer.Pool
	to     *endpoint.Endpoint
}

// NewAsker asks from c, which it closes in Close. now is the engine's clock.
func NewAsker(c *net.UDPConn, now func() int64) *Asker {
	a := &Asker{conn: c, now: now}
	a.done.Go(a.listen)
	return a
}

// Ask is a balancer.Prober.
func (a *Asker) Ask(pool *balancer.Pool, to *endpoint.Endpoint) {
	q := question{a.next.Add(1), a.now(), pool, to}
	a.mu.Lock()
	a.open[q.number%window] = q
	a.mu.Unlock()
	var b [Size]byte
	copy(b[:], magic)
	binary.BigEndian.PutUint64(b[8:], q.number)
	_, _ = a.conn.WriteToUDPAddrPort(b[:], to.Addr)
}

func (a *Asker) listen() {
	var b [Size + 1]byte
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(b[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // a port that nobody listens on says so here
		}
		if valid(b[:n]) {
			a.answered(b[:Size], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}

// answered takes an answer, which has to come from whom was asked.
func (a *Asker) answered(b []byte, from netip.AddrPort) {
	number := binary.BigEndian.Uint64(b[8:])
	a.mu.Lock()
	slot := &a.open[number%window]
	q := *slot
	if q.number == number && q.to != nil {
		*slot = question{}
	}
	a.mu.Unlock()
	if q.number != number || q.to == nil || from != netip.AddrPortFrom(q.to.Addr.Addr().Unmap(), q.to.Addr.Port()) {
		return
	}
	q.pool.Answer(q.to, int64(binary.BigEndian.Uint32(b[16:])), time.Duration(binary.BigEndian.Uint64(b[20:])), a.now())
}

// Close ends it and waits for that.
func (a *Asker) Close() {
	_ = a.conn.Close()
	a.done.Wait()
}
