package redirect

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// BindFlags binds c to the flags of `sidecar redirect install`; c's present values are the
// defaults. Values are checked by themselves while flags are parsed and together by
// Validate.
func BindFlags(fs *pflag.FlagSet, c *Config) {
	BindRemoveFlags(fs, c)
	fs.Uint16Var(&c.OutboundPort, "outbound-port", c.OutboundPort, "local port that gets outgoing connections, 0 for none")
	fs.Uint16Var(&c.InboundPort, "inbound-port", c.InboundPort, "local port that gets incoming connections, 0 for none")
	fs.IntVar(&c.ProxyUID, "proxy-uid", c.ProxyUID, "user id of the sidecar, whose connections are left alone, -1 for none")
	fs.Uint32Var(&c.Mark, "mark", c.Mark, "socket mark of the sidecar, whose connections are left alone, 0 for none")
	fs.Var((*portList)(&c.IncludeInboundPorts), "include-inbound-ports", "the only ports intercepted inbound (default all)")
	fs.Var((*portList)(&c.ExcludeInboundPorts), "exclude-inbound-ports", "ports not intercepted inbound")
	fs.Var((*portList)(&c.ExcludeOutboundPorts), "exclude-outbound-ports", "destination ports not intercepted outbound")
	fs.Var((*prefixList)(&c.ExcludeOutboundCIDRs), "exclude-outbound-cidrs", "destinations not intercepted outbound")
}

// BindRemoveFlags binds what `sidecar redirect remove` needs.
func BindRemoveFlags(fs *pflag.FlagSet, c *Config) {
	fs.StringVar(&c.Table, "table", c.Table, "nftables table (family inet) that holds the rules")
}

// portList is a flag of comma-separated ports; given again, it adds.
type portList []uint16

func (l *portList) Type() string { return "ports" }

func (l *portList) String() string {
	words := make([]string, len(*l))
	for i, p := range *l {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, ",")
}

func (l *portList) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		p, err := strconv.ParseUint(strings.TrimSpace(word), 10, 16)
		if err != nil || p == 0 {
			return fmt.Errorf("%q: must be ports from 1 to 65535, separated by commas", word)
		}
		*l = append(*l, uint16(p))
	}
	return nil
}

// prefixList is a flag of comma-separated networks; given again, it adds. A bare address
// is a network of one.
type prefixList []netip.Prefix

func (l *prefixList) Type() string { return "cidrs" }

func (l *prefixList) String() string {
	words := make([]string, len(*l))
	for i, p := range *l {
		words[i] = p.String()
	}
	return strings.Join(words, ",")
}

func (l *prefixList) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		p, err := netip.ParsePrefix(word)
		if a, aerr := netip.ParseAddr(word); aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q: must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas", word)
		}
		*l = append(*l, p)
	}
	return nil
}
