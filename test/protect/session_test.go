package protect

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/meshd/meshd/test/rig"
)

// A session stays with its instance while that lives, moves when it goes, and
// cannot be forged.
func TestSessions(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(policy("cart", "session: {cookie: cart, ttl: 1h}"))
		instances := map[string]*rig.Sidecar{}
		for i := range 3 {
			name := fmt.Sprintf("cart-%d", i)
			instances[name] = m.Sidecar(t, rig.Spec{Service: "cart", Instance: name, App: rig.Serve(t, 0, says(name))})
		}
		m.AwaitReady("cart-0", "cart-1", "cart-2")
		c := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web"}))
		first := c.must("http://cart:8080/")
		cookie := cookieOf(first.header)
		if cookie == "" || !strings.Contains(first.header.Get("Set-Cookie"), "Max-Age=3600") {
			t.Fatalf("Set-Cookie: %q", first.header.Values("Set-Cookie"))
		}
		for i := range 30 {
			a := c.must("http://cart:8080/", "cookie: other=1; "+cookie)
			if a.body != first.body || a.header.Get("Set-Cookie") != "" {
				t.Fatalf("call %d went to %s, the session is with %s; Set-Cookie %q", i, a.body, first.body, a.header.Get("Set-Cookie"))
			}
		}
		seen := map[string]bool{}
		for range 30 {
			seen[c.must("http://cart:8080/", "cookie: "+cookie[:len(cookie)-2]).body] = true
		}
		if len(seen) == 1 && seen[first.body] {
			t.Error("a forged cookie was honoured")
		}
		instances[first.body].Terminate(t, rig.Patience)
		moved := c.must("http://cart:8080/", "cookie: "+cookie)
		if moved.status != http.StatusOK || moved.body == first.body || cookieOf(moved.header) == "" {
			t.Fatalf("after its instance has gone: %d %s, cookie %q", moved.status, moved.body, cookieOf(moved.header))
		}
		for range 10 {
			if a := c.must("http://cart:8080/", "cookie: "+cookieOf(moved.header)); a.body != moved.body {
				t.Fatalf("the session moved to %s, and then to %s", moved.body, a.body)
			}
		}
	})
}

func cookieOf(h http.Header) string {
	value, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
	return value
}
