package detect

import "strings"

// MaxHello bounds how much of a connection ServerName looks at, in bytes.
// Clients with post-quantum key shares send some 2 kB.
const MaxHello = 16 << 10

// ServerName reads the host_name of the server_name extension (RFC 6066,
// section 3) of the ClientHello that a connection opens with, in lower case.
// It is empty when there is none, when it is no name of a host (RFC 952, RFC
// 1123; underscores are let through), and when what there is is malformed. more
// says that b ends before that is known; at MaxHello bytes it always is.
func ServerName(b []byte) (name string, more bool) {
	hello, more := handshake(b)
	more = more && len(b) < MaxHello
	r := reader{b: hello}
	if kind := r.uint(1); !r.failed && kind != clientHello {
		return "", false
	}
	r.uint(3)  // length: handshake looked at it
	r.skip(34) // version, random
	r.skip(r.uint(1))
	r.skip(r.uint(2))
	r.skip(r.uint(1))
	r.uint(2)
	for !r.failed && len(r.b) > 0 {
		kind, body := r.uint(2), r.take(r.uint(2))
		if kind == 0 && !r.failed {
			return hostName(body), false
		}
	}
	return "", more
}

// handshake puts a ClientHello together from the records that carry it (RFC
// 8446, section 5.1), as far as there is one. more says that there may be more
// of it to come.
func handshake(b []byte) (msg []byte, more bool) {
	b = b[:min(len(b), MaxHello)]
	for len(b) > 0 {
		if b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
			return msg, false
		}
		if len(b) < 5 {
			return msg, true
		}
		n := int(b[3])<<8 | int(b[4])
		if n == 0 {
			return msg, false
		}
		part := b[5:min(len(b), 5+n)]
		b = b[5+len(part):]
		if msg == nil {
			msg = part[:len(part):len(part)] // mostly the only one, and not copied
		} else {
			msg = append(msg, part...)
		}
		if len(msg) >= 4 {
			if length := 4 + int(msg[1])<<16 + int(msg[2])<<8 + int(msg[3]); len(msg) >= length {
				return msg[:length], false
			}
		}
	}
	return msg, true
}

// hostName is the name in a server_name extension's body: a list of which one
// entry of type host_name is defined.
func hostName(body []byte) string {
	r := reader{b: body}
	list := reader{b: r.take(r.uint(2))}
	kind, name := list.uint(1), list.take(list.uint(2))
	if r.failed || list.failed || kind != 0 || !isHost(name) {
		return ""
	}
	return strings.ToLower(string(name))
}

// isHost is strict, because the name goes on to the control plane and to DNS.
// An address is no name (RFC 6066), and its last label is all digits.
func isHost(name []byte) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	label, digits := 0, true
	for i, c := range name {
		switch {
		case c == '.':
			if label == 0 || name[i-1] == '-' {
				return false
			}
			label, digits = 0, true
			continue
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
			digits = false
		case '0' <= c && c <= '9':
		case c == '-' && label > 0:
			digits = false
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && !digits && name[len(name)-1] != '-'
}

// reader takes numbers and runs of bytes from the front of b, until there are
// not enough.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.b) {
		r.b, r.failed = nil, true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) skip(n int) { r.take(n) }

// uint is a number of n bytes, big-endian; 0 where there are not enough.
func (r *reader) uint(n int) (v int) {
	for _, c := range r.take(n) {
		v = v<<8 | int(c)
	}
	return v
}
