package mesh

import (
	"slices"
	"strings"
)

// A Protocol is what the instances of one port of a service speak.
type Protocol uint8

// The protocols.
const (
	ProtocolAuto  Protocol = iota // what the caller speaks
	ProtocolHTTP1                 // HTTP/1.1, WebSocket included
	ProtocolHTTP2                 // HTTP/2 in cleartext with prior knowledge, gRPC included
	ProtocolTCP                   // bytes that nobody looks at
)

// String is auto, http1, http2 or tcp.
func (p Protocol) String() string {
	return [...]string{"auto", "http1", "http2", "tcp"}[p]
}

// protocolWords are the words that say a protocol, in lower case: those that
// Kubernetes defines for appProtocol (KEP-3726), and those by which Istio's
// convention lets the name of a port start. Whatever is TLS is opaque, since
// the mesh has no key to it.
var protocolWords = map[string]Protocol{
	"http": ProtocolHTTP1, "www": ProtocolHTTP1, "ws": ProtocolHTTP1, "kubernetes.io/ws": ProtocolHTTP1,
	"http2": ProtocolHTTP2, "h2c": ProtocolHTTP2, "kubernetes.io/h2c": ProtocolHTTP2,
	"grpc": ProtocolHTTP2, "grpc-web": ProtocolHTTP2,
	"tcp": ProtocolTCP, "tls": ProtocolTCP, "https": ProtocolTCP, "wss": ProtocolTCP, "kubernetes.io/wss": ProtocolTCP,
	"mongo": ProtocolTCP, "mongodb": ProtocolTCP, "mysql": ProtocolTCP, "postgres": ProtocolTCP, "postgresql": ProtocolTCP,
	"redis": ProtocolTCP, "memcached": ProtocolTCP, "cassandra": ProtocolTCP, "amqp": ProtocolTCP, "kafka": ProtocolTCP,
	"mqtt": ProtocolTCP, "nats": ProtocolTCP, "ldap": ProtocolTCP, "smtp": ProtocolTCP, "ssh": ProtocolTCP, "ftp": ProtocolTCP,
}

// appProtocol is what a port says by its appProtocol: a word of the table; any
// other one without a prefix names, as Kubernetes has it, a service of IANA's
// registry (RFC 6335), none of which is HTTP but those in the table. One with
// a domain before it means what its author's implementation makes of it, which
// is nothing here. false where there is none.
func appProtocol(word string) (p Protocol, said bool) {
	word = strings.ToLower(word)
	p, known := protocolWords[word]
	switch {
	case word == "":
		return ProtocolAuto, false
	case !known && !strings.Contains(word, "/"):
		p = ProtocolTCP
	}
	return p, true
}

// protocolOfName is what a port says by its name, WORD or WORD-SUFFIX with a
// word of the table; false if it says nothing.
func protocolOfName(name string) (p Protocol, said bool) {
	if p, said = protocolWords[name]; !said {
		word, _, _ := strings.Cut(name, "-")
		p, said = protocolWords[word]
	}
	return p, said
}

// protocol is what the instances of a port speak: as the Service's port says
// by appProtocol, else as an EndpointSlice's port that belongs to it does, else
// by the name. Where there is no Service, the port of a slice that has the
// number speaks for itself.
func (svc *service) protocol(port uint16) Protocol {
	var own ServicePort
	if svc.object != nil {
		if i := svc.object.tcpPort(port); i >= 0 {
			own = svc.object.Ports[i]
		}
	}
	if p, said := appProtocol(own.AppProtocol); said {
		return p
	}
	for _, s := range svc.slices {
		for _, sp := range s.Ports {
			mine := sp.Port == port
			if own.Port != 0 {
				n, ok := own.in(s)
				mine = ok && (sp.Port == n || sp.Port == 0)
			}
			if !mine || sp.Protocol != "TCP" {
				continue
			}
			if p, said := appProtocol(sp.AppProtocol); said {
				return p
			}
			if p, said := protocolOfName(sp.Name); said && own.Port == 0 {
				return p
			}
		}
	}
	p, _ := protocolOfName(own.Name)
	return p
}

// tcpPort is the index of a port that the mesh carries, or -1.
func (s *Service) tcpPort(port uint16) int {
	return slices.IndexFunc(s.Ports, func(p ServicePort) bool { return p.Port == port && p.Protocol == "TCP" })
}

const appProtocolForm = "a word such as http, grpc, tcp or kubernetes.io/h2c: letters, digits, '-', '_' and '.', at most 63, " +
	"after a DNS name and '/' where it is not a standard one"

// isAppProtocol reports whether s is a qualified name, as Kubernetes demands,
// or nothing.
func isAppProtocol(s string) bool {
	if s == "" {
		return true
	}
	if prefix, rest, ok := strings.Cut(s, "/"); ok {
		if !isName(prefix) {
			return false
		}
		s = rest
	}
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || strings.IndexByte("-_.", c) < 0) {
			return false
		}
	}
	return true
}
