package mesh

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

const (
	labelForm = "a DNS label: lower-case letters, digits and '-', at most 63, the first and last no '-'"
	nameForm  = "a DNS name: lower-case letters, digits, '-' and '.', at most 253, each part starting and ending with a letter or digit"
	textForm  = "UTF-8 text of at most 253 bytes"
)

// isLabel reports whether s is a DNS label (RFC 1123) in lower case, as the
// names of services, namespaces and ports are.
func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// isName reports whether s is a DNS subdomain (RFC 1123) in lower case, as the
// names of other objects are.
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isLabel(part) {
			return false
		}
	}
	return true
}

// parsePort reads a port of one to five digits, 1 to 65535.
func parsePort(s string) (uint16, bool) {
	if len(s) == 0 || len(s) > 5 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return uint16(n), n >= 1 && n <= 65535
}

// reachable reports whether a can be an instance's address for callers
// elsewhere. xDS clients refuse all of a cluster's endpoints for one that is not.
func reachable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && a.Zone() == ""
}

// isText reports whether s may stand for a region or zone.
func isText(s string) bool { return len(s) <= 253 && utf8.ValidString(s) }
