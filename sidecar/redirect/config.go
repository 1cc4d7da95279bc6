package redirect

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// Ports, user id and mark that the sidecar uses unless told otherwise. The user id and
// the mark are those that other meshes' images use, so that existing policies fit.
const (
	DefaultTable        = "meshd"
	DefaultOutboundPort = 15001
	DefaultInboundPort  = 15006
	DefaultProxyUID     = 1337
	DefaultMark         = 1337
)

// maxEntries bounds each list, and with them the one transaction that carries the rules.
const maxEntries = 128

// Config says what is intercepted. The zero value intercepts nothing and is refused; start
// from Default.
type Config struct {
	// Table is the nftables table of family inet that holds the rules and nothing else.
	// Install replaces it whole, Remove deletes it.
	Table string
	// OutboundPort gets the connections that processes here open to elsewhere. The
	// kernel delivers them at 127.0.0.1 and, for IPv6, at ::1: listen on both.
	// 0 leaves outbound connections alone.
	OutboundPort uint16
	// InboundPort gets the connections that arrive from elsewhere. The kernel delivers
	// them at an address of the interface they came by: listen on [::].
	// 0 leaves inbound connections alone.
	InboundPort uint16
	// ProxyUID is the user id whose connections are never redirected, which is how the
	// sidecar gets out; nothing else may run under it. NoUID: told by Mark alone.
	ProxyUID int
	// Mark is the socket mark (SO_MARK) whose connections are never redirected, however
	// they are owned. 0: told by ProxyUID alone.
	Mark uint32
	// IncludeInboundPorts are the only ports intercepted inbound; empty means all.
	IncludeInboundPorts []uint16
	// ExcludeInboundPorts are reached as if there was no sidecar: its own admin port when
	// others scrape it, sshd on a host.
	ExcludeInboundPorts []uint16
	// ExcludeOutboundPorts and ExcludeOutboundCIDRs are destinations called without the
	// sidecar.
	ExcludeOutboundPorts []uint16
	ExcludeOutboundCIDRs []netip.Prefix
}

// NoUID is the ProxyUID of a sidecar that has no user id to itself.
const NoUID = -1

// Default intercepts everything, both ways.
func Default() Config {
	return Config{
		Table:        DefaultTable,
		OutboundPort: DefaultOutboundPort,
		InboundPort:  DefaultInboundPort,
		ProxyUID:     DefaultProxyUID,
		Mark:         DefaultMark,
	}
}

var tableName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// Validate reports the first field that cannot be, with its value and what can.
func (c Config) Validate() error {
	if err := c.validateTable(); err != nil {
		return err
	}
	switch {
	case c.OutboundPort == 0 && c.InboundPort == 0:
		return fmt.Errorf("redirect: outbound-port and inbound-port are both 0: at least one must be a port from 1 to 65535")
	case c.OutboundPort == c.InboundPort:
		return fmt.Errorf("redirect: inbound-port %d is the outbound-port as well: they must differ, since the sidecar tells directions apart by them", c.InboundPort)
	case c.ProxyUID < NoUID || int64(c.ProxyUID) >= 1<<32-1:
		return fmt.Errorf("redirect: proxy-uid %d: must be a user id from 0 to 4294967294, or %d for none", c.ProxyUID, NoUID)
	case c.ProxyUID == NoUID && c.Mark == 0:
		return fmt.Errorf("redirect: proxy-uid is %d and mark is 0: at least one must tell the sidecar's own connections, which would otherwise be redirected to itself for ever", NoUID)
	}
	lists := []struct {
		name  string
		ports []uint16
	}{
		{"include-inbound-ports", c.IncludeInboundPorts},
		{"exclude-inbound-ports", c.ExcludeInboundPorts},
		{"exclude-outbound-ports", c.ExcludeOutboundPorts},
	}
	for _, l := range lists {
		if len(l.ports) > maxEntries {
			return fmt.Errorf("redirect: %s has %d entries: at most %d", l.name, len(l.ports), maxEntries)
		}
		if slices.Contains(l.ports, 0) {
			return fmt.Errorf("redirect: %s contains 0: must be ports from 1 to 65535", l.name)
		}
	}
	for _, p := range c.IncludeInboundPorts {
		if slices.Contains(c.ExcludeInboundPorts, p) {
			return fmt.Errorf("redirect: port %d is in both include-inbound-ports and exclude-inbound-ports: name it in one", p)
		}
	}
	if n := len(c.ExcludeOutboundCIDRs); n > maxEntries {
		return fmt.Errorf("redirect: exclude-outbound-cidrs has %d entries: at most %d", n, maxEntries)
	}
	for _, p := range c.ExcludeOutboundCIDRs {
		if err := validatePrefix(p); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) validateTable() error {
	if !tableName.MatchString(c.Table) {
		return fmt.Errorf("redirect: table %q: must match %s", c.Table, tableName)
	}
	return nil
}

func validatePrefix(p netip.Prefix) error {
	const name = "redirect: exclude-outbound-cidrs"
	switch {
	case !p.IsValid():
		return fmt.Errorf("%s: invalid prefix: must be ADDRESS/BITS such as 10.0.0.0/8 or fd00::/8", name)
	case p.Addr().Is4In6():
		return fmt.Errorf("%s: %s is an IPv4 address written as IPv6: write it as IPv4", name, p)
	case p.Masked() != p:
		return fmt.Errorf("%s: %s has bits set beyond /%d: write %s", name, p, p.Bits(), p.Masked())
	}
	return nil
}
