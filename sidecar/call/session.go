package call

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// session is what keeps a call where its caller's earlier ones went.
type session struct {
	id       string               // the instance that the cookie names, if it is genuine
	generate *resource.HashPolicy // whose cookie the caller is to be given
	value    string               // of that
}

// look takes note of what the route goes by.
func (c *Call) look(req Request, now int64) {
	r := c.Route
	if len(r.Hash) > 0 {
		c.hash, c.hashed, c.generate, c.value = r.HashOf(req)
	}
	if s := &r.Session; s.Cookie != "" {
		if v := cookie(req.Header("cookie"), s.Cookie); v != nil {
			c.id = instanceOf(s, v)
		}
	}
}

// macLen is the part of the HMAC that a cookie holds: 128 bits.
const macLen = 16

// maxSession bounds the cookies that are looked into.
const maxSession = 700

// sessionValue is base64url(HMAC-SHA-256 of the name, the first 128 bits; then
// the name).
func sessionValue(s *resource.Session, id string) string {
	mac := hmac.New(sha256.New, []byte(s.Key))
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(append(mac.Sum(nil)[:macLen], id...))
}

// instanceOf is the instance that a cookie names; empty if nobody of the mesh
// has made it.
func instanceOf(s *resource.Session, value []byte) string {
	if len(value) > maxSession {
		return ""
	}
	b := make([]byte, base64.RawURLEncoding.DecodedLen(len(value)))
	n, err := base64.RawURLEncoding.Decode(b, value)
	if err != nil || n <= macLen {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(s.Key))
	mac.Write(b[macLen:n])
	if !hmac.Equal(mac.Sum(nil)[:macLen], b[:macLen]) {
		return ""
	}
	return string(b[macLen:n])
}

// kept starts the first attempt at the instance that the session is with, if
// that takes calls.
func (c *Call) kept(now int64) *endpoint.Endpoint {
	if c.id == "" || c.attempts > 0 {
		return nil
	}
	ep := c.view.named(c.id)
	if ep == nil || ep.Health != resource.Healthy || !ep.Available(now) {
		return nil
	}
	t, ok := ep.Breaker.Allow()
	if !ok {
		return nil
	}
	c.started(ep, t, now)
	return ep
}

// named finds an endpoint by its instance's name.
func (v *view) named(id string) *endpoint.Endpoint {
	v.byID.once.Do(func() {
		v.byID.of = make(map[string]*endpoint.Endpoint, v.set.Len())
		for _, ep := range v.set.Endpoints() {
			v.byID.of[ep.ID] = ep
		}
	})
	return v.byID.of[id]
}

// SetCookie is the value of the Set-Cookie field (RFC 6265) that the answer
// of the attempt is to have; empty: none.
func (c *Call) SetCookie() string {
	r := c.Route
	if s := &r.Session; s.Cookie != "" && c.ep != nil && c.ep.ID != "" && c.ep.ID != c.id {
		return cookieField(s.Cookie, sessionValue(s, c.ep.ID), s.Path, s.TTL)
	}
	if g := c.generate; g != nil {
		return cookieField(g.Cookie, c.value, g.CookiePath, g.CookieTTL)
	}
	return ""
}

func cookieField(name, value, path string, ttl time.Duration) string {
	out := name + "=" + value
	if ttl > 0 {
		out += "; Max-Age=" + strconv.FormatInt(int64(max(ttl/time.Second, 1)), 10)
	}
	if path == "" {
		path = "/"
	}
	return out + "; Path=" + path + "; HttpOnly"
}
