package h1

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// redirected makes a rig whose connections were going elsewhere, and what is
// opaque of them is answered with where and what.
func redirected(t *testing.T, addr string, more ...func(*Config)) (r *rig, opaque *atomic.Int64) {
	opaque = new(atomic.Int64)
	to := netip.MustParseAddrPort("192.0.2.1:9999")
	r = newRig(t, options{
		original: func(*net.TCPConn) (netip.AddrPort, bool) { return to, true },
		config: func(c *Config) {
			c.SniffTimeout = 100 * time.Millisecond
			c.Opaque = func(_ context.Context, c *net.TCPConn, original netip.AddrPort, first []byte) {
				defer c.Close()
				opaque.Add(1)
				fmt.Fprintf(c, "%s %q", original, first)
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			}
			for _, f := range more {
				f(c)
			}
		},
	}, addr)
	return r, opaque
}

func TestRedirectedConnections(t *testing.T) {
	r, opaque := redirected(t, says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
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
	if n := opaque.Load(); n != 4 {
		t.Errorf("%d opaque connections", n)
	}
}

func TestRedirectedConnectionThatEnds(t *testing.T) {
	r, opaque := redirected(t, nobody)
	c := r.dial()
	_ = c.CloseWrite()
	c.ended()
	if n := opaque.Load(); n != 0 {
		t.Errorf("%d passed through", n)
	}
}

// Where a connection was going may say that nobody looks into it: at once, so
// that nothing of it is read, or a little later.
func TestPeek(t *testing.T) {
	for name, now := range map[string]bool{"known": true, "asked": false} {
		t.Run(name, func(t *testing.T) {
			r, _ := redirected(t, nobody, func(c *Config) {
				c.SniffTimeout = time.Minute
				c.Peek = func(original netip.AddrPort, silent bool, opaque func()) bool {
					if original.Port() != 9999 || silent {
						t.Errorf("asked for %s, silent %v", original, silent)
					}
					if !now {
						time.AfterFunc(time.Millisecond, opaque)
					}
					return now
				}
			})
			c := r.dial()
			want := `192.0.2.1:9999 ""`
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// What the connection says counts until there is an answer.
func TestPeekComesTooLate(t *testing.T) {
	tell := make(chan func(), 1)
	r, opaque := redirected(t, says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), func(c *Config) {
		c.Peek = func(_ netip.AddrPort, _ bool, opaque func()) bool {
			tell <- opaque
			return false
		}
	})
	c := r.dial()
	late := <-tell
	for range 2 {
		c.send("GET / HTTP/1.1\r\nHost: checkout\r\n\r\n")
		if res, b := c.answer("GET"); res.StatusCode != 200 || b != "ok" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
		late()
	}
	if n := opaque.Load(); n != 0 {
		t.Errorf("%d passed through", n)
	}
}
