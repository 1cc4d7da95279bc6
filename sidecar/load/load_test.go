package load

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) *net.UDPConn {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Of two servers the one that says that it is busy gets nothing, though the
// caller has no calls in flight with either.
func TestAnswersDecide(t *testing.T) {
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) }
	var asked atomic.Int64
	res := &resource.Endpoints{}
	for _, busy := range []int64{100, 1} {
		c := listen(t)
		go Answer(c, func() (int64, time.Duration) { asked.Add(1); return busy, time.Duration(busy) * time.Millisecond })
		res.Endpoints = append(res.Endpoints, resource.Endpoint{Addr: c.LocalAddr().(*net.UDPAddr).AddrPort(), Weight: 1})
	}
	set, _ := (*endpoint.Set)(nil).Update(res, func(e resource.Endpoint) *endpoint.Endpoint {
		return endpoint.New(e, breaker.New("", breaker.Config{Disabled: true}, nil), nil)
	})
	a := NewAsker(listen(t), now)
	defer a.Close()
	p, err := balancer.New(balancer.Config{Policy: "hcl", Balancing: resource.DefaultBalancing(), Time: epoch, Probe: a.Ask}, set)
	if err != nil {
		t.Fatal(err)
	}
	pick := func() netip.AddrPort { e, _ := p.Pick(balancer.Info{Now: now()}); return e.Addr }
	deadline := time.Now().Add(5 * time.Second)
	for streak := 0; streak < 50; {
		if time.Now().After(deadline) {
			t.Fatal("the answers did not decide in 5 s")
		}
		before := asked.Load()
		if pick() == res.Endpoints[1].Addr {
			streak++
		} else {
			streak = 0
		}
		for asked.Load() == before && time.Now().Before(deadline) {
		}
	}
}

// Whoever was not asked is not listened to.
func TestForgedAnswers(t *testing.T) {
	server, stranger := listen(t), listen(t)
	e := endpoint.New(resource.Endpoint{Addr: server.LocalAddr().(*net.UDPAddr).AddrPort(), Weight: 1}, breaker.New("", breaker.Config{Disabled: true}, nil), nil)
	a := &Asker{conn: listen(t), now: func() int64 { return 1 }}
	a.Ask(nil, e)
	var b [Size]byte
	if _, err := server.Read(b[:]); err != nil || !valid(b[:]) {
		t.Fatalf("%q %v", b, err)
	}
	b[15]++ // another number
	a.answered(b[:], e.Addr)
	b[15]--
	q := a.open[1]
	a.answered(b[:], stranger.LocalAddr().(*net.UDPAddr).AddrPort()) // a nil pool would panic
	if q.to != e {
		t.Error("the question was forgotten before its answer came")
	}
}

// What is no question gets no answer.
func TestNoiseIsNotAnswered(t *testing.T) {
	server, c := listen(t), listen(t)
	go Answer(server, func() (int64, time.Duration) { return 7, time.Second })
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, noise := range []string{"", "x", magic, magic + "123456789012345678901234x", "meshlaod123456789012345678901234"} {
		_, _ = c.WriteToUDPAddrPort([]byte(noise), to)
	}
	question := [Size]byte{}
	copy(question[:], magic)
	_, _ = c.WriteToUDPAddrPort(question[:], to)
	var b [64]byte
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := c.ReadFromUDPAddrPort(b[:])
	if err != nil || n != Size || b[19] != 7 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := c.ReadFromUDPAddrPort(b[:]); err == nil {
		t.Errorf("noise was answered with %d bytes", n)
	}
}
