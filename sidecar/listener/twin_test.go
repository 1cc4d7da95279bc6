package listener

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/meshd/meshd/internal/testkit/netns"
	"golang.org/x/sys/unix"
)

func TestTwin(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:15001": "[::1]:15001", "[::1]:15001": "127.0.0.1:15001",
		"0.0.0.0:15001": "", "[::]:1": "", "10.0.0.1:1": "",
	} {
		got, ok := twin(netip.MustParseAddrPort(in))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v, %v; want %q", in, got, ok, want)
		}
	}
}

func TestListenBoth(t *testing.T) {
	ns := netns.New(t)
	both := func(addr string) (ls []*Listener, err error) {
		err = ns.Do(func() error {
			ls, err = ListenBoth(addr, Options{Flag: "--outbound"})
			return err
		})
		t.Cleanup(func() {
			for _, l := range ls {
				l.Close()
			}
		})
		return ls, err
	}
	ls, err := both("127.0.0.1:15001")
	if err != nil || len(ls) != 2 || ls[1].Addr().String() != "[::1]:15001" {
		t.Fatalf("%v, %v", ls, err)
	}
	if _, err := both("[::1]:15001"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("twin in use: %v", err)
	}
	if ls, err := both("[::]:15006"); err != nil || len(ls) != 1 {
		t.Fatalf("all addresses: %v, %v", ls, err)
	}
	if ls, err := both("127.0.0.1:0"); err != nil || len(ls) != 2 || ls[0].Addr().Port() != ls[1].Addr().Port() {
		t.Fatalf("port 0: %v, %v", ls, err)
	}
	ns.Sysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
	if ls, err := both("127.0.0.1:15002"); err != nil || len(ls) != 1 {
		t.Fatalf("without IPv6: %v, %v", ls, err)
	}
	if ls, err := both(":15007"); err != nil || len(ls) != 1 {
		t.Fatalf("all addresses without IPv6: %v, %v", ls, err)
	}
}

func TestTransparent(t *testing.T) {
	ns := netns.New(t)
	for addr, opt := range map[string][2]int{
		"127.0.0.1:0": {syscall.SOL_IP, syscall.IP_TRANSPARENT},
		"[::1]:0":     {syscall.SOL_IPV6, unix.IPV6_TRANSPARENT},
		":0":          {syscall.SOL_IPV6, unix.IPV6_TRANSPARENT},
	} {
		var l *Listener
		err := ns.Do(func() (err error) { l, err = Listen(addr, Options{Transparent: true}); return err })
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := l.ln.SyscallConn()
		raw.Control(func(fd uintptr) {
			if v, err := syscall.GetsockoptInt(int(fd), opt[0], opt[1]); v != 1 || err != nil {
				t.Errorf("%s: %d, %v", addr, v, err)
			}
		})
		l.Close()
	}
}
