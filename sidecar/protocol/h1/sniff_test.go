package h1

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// redirected makes a rig whose connections were going elsewhere, and what is
// opaque of them is answered with where and what.
func redirected(t *testing.T, addr string) *rig {
	to := netip.MustParseAddrPort("192.0.2.1:9999")
	return newRig(t, options{
		original: func(*net.TCPConn) (netip.AddrPort, bool) { return to, true },
		config: func(c *Config) {
			c.SniffTimeout = 100 * time.Millisecond
			c.Opaque = func(_ context.Context, c *net.TCPConn, original netip.AddrPort, first []byte) {
				defer c.Close()
				fmt.Fprintf(c, "%s %q", original, first)
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			}
		},
	}, addr)
}

func TestRedirectedConnections(t *testing.T) {
	r := redirected(t, says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	for _, tc := range []struct{ name, first, want string }{
		{"TLS", "\x16\x03\x01\x00\x05\x01", `192.0.2.1:9999 "\x16\x03\x01\x00\x05\x01"`},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", `192.0.2.1:9999 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"`},
		{"SMTP", "EHLO a\r\n", `192.0.2.1:9999 "EHLO a\r\n"`},
		{"the server speaks first", "", `192.0.2.1:9999 ""`},
	} {
		c := r.dial()
		c.send(tc.first)
		got := make([]byte, len(tc.want))
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != tc.want {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
		_ = c.Close()
	}
	c := r.dial()
	for _, part := range []string{"G", "ET", " / HTTP/1.1\r\nHost: che", "ckout\r\n\r\n"} {
		c.send(part)
	}
	if res, b := c.answer("GET"); res.StatusCode != 200 || b != "ok" {
		t.Errorf("%d %q", res.StatusCode, b)
	}
	// Malformed HTTP is answered, not passed on as something else.
	c = r.dial()
	c.send("GET / HTTP/1.1\nHost: checkout\n\n")
	if res, _ := c.answer("GET"); res.StatusCode != 400 {
		t.Errorf("%d", res.StatusCode)
	}
	eventually(t, "the opaque ones are counted", func() bool { return r.stats.Passthrough.Value() == 4 })
}

func TestRedirectedConnectionThatEnds(t *testing.T) {
	r := redirected(t, nobody)
	c := r.dial()
	_ = c.CloseWrite()
	c.ended()
	if n := r.stats.Passthrough.Value(); n != 0 {
		t.Errorf("%d passed through", n)
	}
}
