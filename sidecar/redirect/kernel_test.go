package redirect_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/sidecar/listener"
	"github.com/meshd/meshd/sidecar/redirect"
)

const appUID = 1000

// pod is a namespace with a sidecar's two ports, cabled to a peer whose every port 9000 to
// 9002 answers. All listeners answer with who they are and where the call was going.
type pod struct {
	*netns.NS
	peer *netns.NS
}

func newPod(t *testing.T) pod {
	p := pod{netns.New(t), netns.New(t)}
	p.Veth(t, "eth0", p.peer, "eth0")
	p.Addr(t, "eth0", "10.9.0.1/24")
	p.Addr(t, "eth0", "fd09::1/64")
	p.peer.Addr(t, "eth0", "10.9.0.2/24")
	p.peer.Addr(t, "eth0", "fd09::2/64")
	// Virtual addresses, which nobody has: routed out, and routed to lo.
	p.Route(t, "10.96.0.0/16", "10.9.0.2", "eth0")
	p.Route(t, "fd96::/64", "fd09::2", "eth0")
	p.Route(t, "10.97.0.0/16", "", "lo")
	p.Route(t, "fd97::/64", "", "lo")

	answer(t, p.NS, "outbound", "127.0.0.1:15001")
	answer(t, p.NS, "outbound", "[::1]:15001")
	answer(t, p.NS, "inbound", "[::]:15006")
	answer(t, p.NS, "inbound2", "[::]:16006")
	answer(t, p.NS, "app", "[::]:8080")
	answer(t, p.NS, "app", "[::]:8081")
	answer(t, p.peer, "peer", "[::]:9000")
	answer(t, p.peer, "peer", "[::]:9001")
	return p
}

// answer serves name and the original destination on addr inside ns.
func answer(t *testing.T, ns *netns.NS, name, addr string) {
	t.Helper()
	var l *listener.Listener
	err := ns.Do(func() (err error) { l, err = listener.Listen(addr, listener.Options{}); return err })
	if err != nil {
		t.Fatal(err)
	}
	go l.Serve(func(c *net.TCPConn) {
		defer c.Close()
		if dst, ok := listener.OriginalDst(c); ok {
			fmt.Fprintf(c, "%s for %s", name, dst)
		} else {
			io.WriteString(c, name)
		}
	})
	t.Cleanup(func() { l.Close(); l.Wait() })
}

// call dials addr from ns as uid and returns the answer, or the error's class.
func call(t *testing.T, ns *netns.NS, uid int, mark uint32, addr string) string {
	t.Helper()
	var got string
	err := ns.DoAs(uid, func() error {
		d := net.Dialer{Timeout: 2 * time.Second, Control: redirect.Marker(mark)}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		got = string(b)
		return err
	})
	if err != nil {
		return "error: " + err.Error()
	}
	return got
}

func (p pod) install(t *testing.T, c redirect.Config) {
	t.Helper()
	if err := p.Do(func() error { return redirect.Install(c) }); err != nil {
		t.Fatal(err)
	}
}

func TestInterception(t *testing.T) {
	p := newPod(t)
	p.install(t, redirect.Default())
	uid, mark := redirect.DefaultProxyUID, uint32(redirect.DefaultMark)

	for _, tc := range []struct {
		name string
		from *netns.NS
		uid  int
		mark uint32
		addr string
		want string
	}{
		{"real v4", p.NS, appUID, 0, "10.9.0.2:9000", "outbound for 10.9.0.2:9000"},
		{"real v6", p.NS, appUID, 0, "[fd09::2]:9000", "outbound for [fd09::2]:9000"},
		{"virtual v4", p.NS, appUID, 0, "10.96.0.7:80", "outbound for 10.96.0.7:80"},
		{"virtual v6", p.NS, appUID, 0, "[fd96::7]:80", "outbound for [fd96::7]:80"},
		{"virtual v4 routed by lo", p.NS, appUID, 0, "10.97.0.7:80", "outbound for 10.97.0.7:80"},
		{"virtual v6 routed by lo", p.NS, appUID, 0, "[fd97::7]:80", "outbound for [fd97::7]:80"},
		{"root is not the sidecar", p.NS, 0, 0, "10.9.0.2:9000", "outbound for 10.9.0.2:9000"},

		{"proxy's uid v4", p.NS, uid, 0, "10.9.0.2:9000", "peer"},
		{"proxy's uid v6", p.NS, uid, 0, "[fd09::2]:9000", "peer"},
		{"proxy's mark v4", p.NS, 0, mark, "10.9.0.2:9000", "peer"},
		{"proxy's mark v6", p.NS, 0, mark, "[fd09::2]:9000", "peer"},
		{"another mark", p.NS, 0, mark + 1, "10.9.0.2:9000", "outbound for 10.9.0.2:9000"},

		{"loopback v4", p.NS, appUID, 0, "127.0.0.1:8080", "app"},
		{"loopback v6", p.NS, appUID, 0, "[::1]:8080", "app"},
		{"own address v4", p.NS, appUID, 0, "10.9.0.1:8080", "app"},
		{"own address v6", p.NS, appUID, 0, "[fd09::1]:8080", "app"},
		{"sidecar's port, called", p.NS, appUID, 0, "127.0.0.1:15001", "outbound"},

		{"inbound v4", p.peer, appUID, 0, "10.9.0.1:8080", "inbound for 10.9.0.1:8080"},
		{"inbound v6", p.peer, appUID, 0, "[fd09::1]:8080", "inbound for [fd09::1]:8080"},
		{"inbound from a like uid", p.peer, uid, mark, "10.9.0.1:8080", "inbound for 10.9.0.1:8080"},
		{"inbound port, called", p.peer, appUID, 0, "10.9.0.1:15006", "inbound"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := call(t, tc.from, tc.uid, tc.mark, tc.addr); got != tc.want {
				t.Errorf("%s: %q, want %q", tc.addr, got, tc.want)
			}
		})
	}
	t.Run("outbound port from outside", func(t *testing.T) {
		if got := call(t, p.peer, appUID, 0, "10.9.0.1:15001"); !strings.Contains(got, "refused") {
			t.Errorf("%q, want it refused", got)
		}
	})
}

func TestExclusions(t *testing.T) {
	p := newPod(t)
	c := redirect.Default()
	c.ExcludeOutboundPorts = []uint16{9001}
	c.ExcludeInboundPorts = []uint16{8081}
	p.install(t, c)
	for addr, want := range map[string]string{
		"10.9.0.2:9000": "outbound for 10.9.0.2:9000", "10.9.0.2:9001": "peer",
		"[fd09::2]:9000": "outbound for [fd09::2]:9000", "[fd09::2]:9001": "peer",
	} {
		if got := call(t, p.NS, appUID, 0, addr); got != want {
			t.Errorf("out to %s: %q, want %q", addr, got, want)
		}
	}
	for addr, want := range map[string]string{
		"10.9.0.1:8080": "inbound for 10.9.0.1:8080", "10.9.0.1:8081": "app", "[fd09::1]:8081": "app",
	} {
		if got := call(t, p.peer, appUID, 0, addr); got != want {
			t.Errorf("in to %s: %q, want %q", addr, got, want)
		}
	}

	c = redirect.Default()
	c.ExcludeOutboundCIDRs = []netip.Prefix{netip.MustParsePrefix("10.9.0.2/31"), netip.MustParsePrefix("fd09::/64")}
	c.IncludeInboundPorts = []uint16{8081}
	p.install(t, c)
	for addr, want := range map[string]string{
		"10.9.0.2:9000": "peer", "[fd09::2]:9000": "peer",
		"10.96.0.7:80": "outbound for 10.96.0.7:80", "[fd96::7]:80": "outbound for [fd96::7]:80",
	} {
		if got := call(t, p.NS, appUID, 0, addr); got != want {
			t.Errorf("out to %s: %q, want %q", addr, got, want)
		}
	}
	for addr, want := range map[string]string{
		"10.9.0.1:8080": "app", "10.9.0.1:8081": "inbound for 10.9.0.1:8081", "[fd09::1]:8081": "inbound for [fd09::1]:8081",
	} {
		if got := call(t, p.peer, appUID, 0, addr); got != want {
			t.Errorf("in to %s: %q, want %q", addr, got, want)
		}
	}
}

// What a host forwards for others is not its sidecar's to intercept.
func TestForwardedIsLeftAlone(t *testing.T) {
	p := newPod(t)
	far := netns.New(t)
	p.Veth(t, "eth1", far, "eth0")
	p.Addr(t, "eth1", "10.11.0.1/24")
	far.Addr(t, "eth0", "10.11.0.2/24")
	far.Route(t, "10.9.0.0/24", "10.11.0.1", "eth0")
	p.peer.Route(t, "10.11.0.0/24", "10.9.0.1", "eth0")
	p.Sysctl(t, "net/ipv4/ip_forward", "1")
	p.install(t, redirect.Default())
	if got := call(t, far, appUID, 0, "10.9.0.2:9000"); got != "peer" {
		t.Errorf("%q, want peer", got)
	}
}
