package call

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/meshd/meshd/xds/resource"
)

type request struct {
	headers map[string]string
	target  string
	source  string
}

func (r request) Header(name string) []byte {
	if v, ok := r.headers[name]; ok {
		return []byte(v)
	}
	return nil
}
func (r request) Method() []byte { return []byte("GET") }
func (r request) Target() []byte { return []byte(r.target) }
func (r request) Source() netip.Addr {
	a, _ := netip.ParseAddr(r.source)
	return a
}

func TestHashOf(t *testing.T) {
	in := request{
		headers: map[string]string{"x-user": "ann", "x-empty": "", "cookie": `a=1;b="2"; session=abc ; c`},
		target:  "/x?q=1&r&user=bob%20x&user=2#user=3", source: "10.0.0.1",
	}
	one := func(p resource.HashPolicy) uint64 {
		h, ok, _, _ := (&Route{Route: resource.Route{Hash: []resource.HashPolicy{p}}}).HashOf(in)
		if !ok {
			return 0
		}
		return h
	}
	for _, c := range []struct {
		policy resource.HashPolicy
		value  string
	}{
		{resource.HashPolicy{Header: "x-user"}, "ann"}, {resource.HashPolicy{Header: "x-empty"}, ""},
		{resource.HashPolicy{Header: ":path"}, in.target}, {resource.HashPolicy{Cookie: "session"}, "abc"},
		{resource.HashPolicy{Cookie: "b"}, "2"}, {resource.HashPolicy{Query: "user"}, "bob%20x"},
		{resource.HashPolicy{Query: "r"}, ""},
	} {
		if got := one(c.policy); got != xxhash.Sum64String(c.value) {
			t.Errorf("%+v: not the hash of %q", c.policy, c.value)
		}
	}
	for _, p := range []resource.HashPolicy{{Header: "x-none"}, {Cookie: "c"}, {Cookie: "ses"}, {Query: "user=3"}, {Query: "x"}} {
		if one(p) != 0 {
			t.Errorf("%+v: hashed", p)
		}
	}
	if a := one(resource.HashPolicy{SourceAddress: true}); a == 0 {
		t.Error("the address is not hashed")
	}
}

func TestHashPoliciesCombine(t *testing.T) {
	a, b, none := resource.HashPolicy{Header: "a"}, resource.HashPolicy{Header: "b"}, resource.HashPolicy{Header: "none"}
	last := a
	last.Terminal = true
	gone := none
	gone.Terminal = true
	made := resource.HashPolicy{Cookie: "s", Generate: true, CookieTTL: time.Hour}
	in := request{headers: map[string]string{"a": "1", "b": "2"}}
	hash := func(p ...resource.HashPolicy) (uint64, bool, *resource.HashPolicy) {
		h, ok, made, _ := (&Route{Route: resource.Route{Hash: p}}).HashOf(in)
		return h, ok, made
	}
	ab, _, _ := hash(a, b)
	ba, _, _ := hash(b, a)
	if ab == ba {
		t.Error("the order does not count")
	}
	if again, _, _ := hash(none, a, none, b); again != ab {
		t.Error("what is not there counts")
	}
	onlyA, _, _ := hash(a)
	if h, _, _ := hash(last, b); h != onlyA {
		t.Error("terminal does not end the list")
	}
	if h, _, _ := hash(gone, a); h != onlyA {
		t.Error("a terminal policy that has nothing ends the list")
	}
	if _, ok, _ := hash(none); ok {
		t.Error("nothing was hashed")
	}
	if _, ok, p := hash(made, none); !ok || p == nil || p.Cookie != "s" {
		t.Errorf("hashed %v, to be made %+v", ok, p)
	}
	if _, _, p := hash(last, made); p != nil {
		t.Error("a cookie is made that does not count")
	}
	if (&Route{}).Looks() {
		t.Error("a route without policies looks at requests")
	}
}

// The hash of a call that gets a cookie is the one that it has when it brings
// the cookie back, whatever stands around the policy.
func TestGeneratedCookieHashesAlike(t *testing.T) {
	a, b, none := resource.HashPolicy{Header: "a"}, resource.HashPolicy{Header: "b"}, resource.HashPolicy{Header: "none"}
	made := resource.HashPolicy{Cookie: "s", Generate: true}
	second := resource.HashPolicy{Cookie: "s2", Generate: true}
	last := made
	last.Terminal = true
	for i, policies := range [][]resource.HashPolicy{
		{made}, {a, made}, {made, b}, {a, made, b}, {none, made, b}, {a, last, b}, {last, b}, {made, second}, {a, made, second, b},
	} {
		r := &Route{Route: resource.Route{Hash: policies}}
		in := request{headers: map[string]string{"a": "1", "b": "2"}}
		first, ok, gen, value := r.HashOf(in)
		if !ok || gen == nil || gen.Cookie != "s" || value == "" {
			t.Fatalf("%d: %v %+v %q", i, ok, gen, value)
		}
		in.headers["cookie"] = "x=y; s=" + value
		again, _, gen, _ := r.HashOf(in)
		if again != first || gen != nil {
			t.Errorf("%d: %x, then %x; made again: %+v", i, first, again, gen)
		}
	}
}

// A call's hash decides its endpoint, and a further attempt goes to another
// one, always to the same.
func TestHashDecides(t *testing.T) {
	cfg := policy
	cfg.Balancer, cfg.Balancing = "ring_hash", resource.DefaultBalancing()
	f := setUp(t, cfg, 0, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
	var first, second string
	for range 20 {
		c := f.begin(t)
		c.hash, c.hashed = 42, true
		a := c.Pick(1).Address
		c.Cancel(1)
		b := c.Pick(1).Address
		c.Cancel(1)
		c.End(1, 200, 0)
		if first == "" {
			first, second = a, b
		}
		if a != first || b != second || a == b {
			t.Fatalf("%s and %s, then %s and %s", first, second, a, b)
		}
	}
	f.rest(t, 20)
}

// Where all breakers are open, calls are made all the same if the cluster has a
// panic threshold, and none otherwise.
func TestPanicMakesCalls(t *testing.T) {
	for threshold, made := range map[float64]bool{0: false, 0.5: true} {
		cfg := policy
		cfg.Balancing.PanicThreshold = threshold
		f := setUp(t, cfg, 0, "10.0.0.1:80")
		for range 3 {
			c := f.begin(t)
			c.Pick(1)
			c.Done(2, 503, 0, 1)
			c.End(2, 503, 0)
		}
		c := f.begin(t)
		ep := c.Pick(int64(time.Second))
		if (ep != nil) != made {
			t.Errorf("threshold %v: picked %v", threshold, ep)
		}
		c.Done(3, 200, 0, 1)
		c.End(3, 200, 0)
		f.rest(t, 4)
	}
}

// An endpoint that has too much to do is left alone, and its breaker does not
// count it.
func TestShedIsNoFailure(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	ep := f.cluster.Endpoints()[0]
	for range 5 {
		c := f.begin(t)
		c.Pick(1)
		c.Answered()
		c.Answered() // once only
		c.Shed(3 * time.Second)
		c.Done(2, 429, 0, 1)
		c.End(2, 429, 0)
	}
	if ep.Failures.Load() != 0 || !ep.Breaker.Ready() {
		t.Error("429 counts as failure")
	}
	if busy, idle := ep.Load.Cost(int64(2*time.Second)), ep.Load.Cost(int64(3*time.Second)+2); busy < 100*idle {
		t.Errorf("price %v while it asks to be left alone, %v after", busy, idle)
	}
	f.rest(t, 5)
}

func FuzzCookie(f *testing.F) {
	f.Add([]byte(`a=1; b="2"`), "b")
	f.Add([]byte(`;=;a`), "a")
	f.Fuzz(func(t *testing.T, header []byte, name string) {
		if v := cookie(header, name); len(v) > len(header) {
			t.Errorf("%q of %q", v, header)
		}
		_ = parameter(header, name)
	})
}
