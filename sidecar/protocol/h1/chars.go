package h1

// Character classes of RFC 9110 and RFC 9112, one table look-up a byte.
const (
	tchar    = 1 << iota // RFC 9110 section 5.6.2: field names, methods
	vchar                // what a field value may hold: VCHAR, obs-text, SP, HTAB
	uriChar              // RFC 3986 and the characters that clients leave unescaped; no '#'
	hostChar             // RFC 3986 reg-name without escapes, and IPv4address
	hexDigit
)

var class = func() (t [256]uint8) {
	set := func(s string, c uint8) {
		for i := range len(s) {
			t[s[i]] |= c
		}
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	set(alnum+"!#$%&'*+-.^_`|~", tchar)
	set(alnum+"-._~!$&'()*+,;=:@/?%[]|^{}\"<>\\`", uriChar)
	set(alnum+"-._~!$&'()*+,;=", hostChar)
	set("0123456789abcdefABCDEF", hexDigit)
	for c := range 256 {
		if c == '\t' || c >= 0x20 && c != 0x7f {
			t[c] |= vchar
		}
	}
	return t
}()

func all(b []byte, c uint8) bool {
	for _, x := range b {
		if class[x]&c == 0 {
			return false
		}
	}
	return true
}

// equalFold reports whether b is the lower-case ASCII string s, in any case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(s) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// trim removes optional white space (RFC 9110 section 5.6.3) from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// tokens calls f with each element of a comma-separated list, white space
// trimmed, empty elements left out (RFC 9110 section 5.6.1).
func tokens(list []byte, f func(tok []byte)) {
	for len(list) > 0 {
		i := 0
		for i < len(list) && list[i] != ',' {
			i++
		}
		if t := trim(list[:i]); len(t) > 0 {
			f(t)
		}
		if i == len(list) {
			return
		}
		list = list[i+1:]
	}
}
