package call

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"math/bits"
	"net/netip"

	"github.com/cespare/xxhash/v2"

	"github.com/meshd/meshd/xds/resource"
)

// A Request is what a call's request says, for those routes that look at it.
type Request interface {
	// Method is as written.
	Method() []byte
	// Header is a header's value, nil if there is none: of several of the name
	// all, joined as RFC 9110 section 5.3 has it, or with "; " those of cookie.
	// The name is in lower case. The bytes are not kept.
	Header(name string) []byte
	// Target is the path with its query.
	Target() []byte
	// Source is the caller's address.
	Source() netip.Addr
}

// HashOf is the hash of a call, by the route's policies in their order
// (envoy.config.route.v3.RouteAction.HashPolicy); false if nothing of what
// they name is there. made is the policy whose cookie the caller is to be given,
// with a value that counts already as if it had been sent, since it was not; nil
// if none is. Of several such policies only the first makes one: a call is
// where it belongs from its first answer on.
func (r *Route) HashOf(in Request) (hash uint64, hashed bool, made *resource.HashPolicy, value string) {
	generated := false
	for i := range r.Hash {
		p := &r.Hash[i]
		h, ok := hashOf(p, in)
		if p.Generate && !generated {
			if generated = true; !ok {
				var b [16]byte
				_, _ = rand.Read(b[:])
				made, value = p, hex.EncodeToString(b[:])
				h, ok = xxhash.Sum64String(value), true
			}
		}
		if ok {
			// As in Envoy: the order of the policies counts.
			hash, hashed = bits.RotateLeft64(hash, 1)^h, true
			if p.Terminal {
				break
			}
		}
	}
	return hash, hashed, made, value
}

func hashOf(p *resource.HashPolicy, in Request) (uint64, bool) {
	var v []byte
	switch {
	case p.Header == ":path":
		v = in.Target()
	case p.Header != "":
		v = in.Header(p.Header)
	case p.Cookie != "":
		v = cookie(in.Header("cookie"), p.Cookie)
	case p.Query != "":
		v = parameter(in.Target(), p.Query)
	case p.SourceAddress:
		a := in.Source()
		b := a.As16()
		return xxhash.Sum64(b[:]), a.IsValid()
	}
	return xxhash.Sum64(v), v != nil
}

// cookie is the value of the first cookie of that name (RFC 6265 section 5.4),
// without quotes; nil if there is none.
func cookie(header []byte, name string) []byte {
	for len(header) > 0 {
		pair, rest, _ := bytes.Cut(header, []byte{';'})
		header = rest
		key, value, ok := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
		if !ok || string(key) != name {
			continue
		}
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		return value[:len(value):len(value)]
	}
	return nil
}

// parameter is the value of the first parameter of that name in a target's
// query, as it stands there: nil if there is none.
func parameter(target []byte, name string) []byte {
	_, query, _ := bytes.Cut(target, []byte{'?'})
	query, _, _ = bytes.Cut(query, []byte{'#'})
	for len(query) > 0 {
		pair, rest, _ := bytes.Cut(query, []byte{'&'})
		query = rest
		if key, value, _ := bytes.Cut(pair, []byte{'='}); string(key) == name {
			if value == nil {
				value = []byte{}
			}
			return value
		}
	}
	return nil
}
