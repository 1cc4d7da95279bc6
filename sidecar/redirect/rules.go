package redirect

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is one nftables rule, both as the kernel takes it and as the nft tool would write
// it, so that what is described is what is installed.
type rule struct {
	text  string
	exprs []expr.Any
}

// chain is one base chain of type nat at priority dstnat (-100). A NAT chain sees the
// first packet of each connection only: rules cost a connection, not a packet.
type chain struct {
	name  string
	hook  *nftables.ChainHook
	label string // of the hook, in nft's words
	rules []rule
}

// chains is the whole ruleset. In each chain the exceptions come first and the
// redirection last.
func (c Config) chains() []chain {
	var out []chain
	if c.OutboundPort != 0 {
		out = append(out, chain{"outbound", nftables.ChainHookOutput, "output", c.outbound()})
	}
	if c.InboundPort != 0 {
		out = append(out, chain{"inbound", nftables.ChainHookPrerouting, "prerouting", c.inbound()})
	}
	return out
}

func (c Config) outbound() []rule {
	rules := []rule{newTCP()}
	if c.ProxyUID != NoUID {
		rules = append(rules, ret(metaIs(expr.MetaKeySKUID, fmt.Sprintf("meta skuid %d", c.ProxyUID), uint32(c.ProxyUID))))
	}
	if c.Mark != 0 {
		rules = append(rules, ret(metaIs(expr.MetaKeyMARK, fmt.Sprintf("meta mark %#x", c.Mark), c.Mark)))
	}
	// By the type of the destination and not by `oifname lo`: virtual addresses may be
	// routed to lo, and must not get away with it.
	rules = append(rules, ret(destinationLocal(expr.CmpOpEq, "")))
	for _, p := range c.ExcludeOutboundPorts {
		rules = append(rules, ret(portIs(p)))
	}
	for _, p := range c.ExcludeOutboundCIDRs {
		rules = append(rules, ret(destinationIn(p)))
	}
	return append(rules, redirectTo(c.OutboundPort, anyTCP()))
}

func (c Config) inbound() []rule {
	rules := []rule{
		newTCP(),
		ret(fromLoopback()),
		// What a host forwards (to its containers, say) is not for its sidecar.
		ret(destinationLocal(expr.CmpOpNeq, "!= ")),
		ret(portIs(c.InboundPort)),
	}
	if c.OutboundPort != 0 {
		// Nobody listens there for the outside, and a refusal says so.
		rules = append(rules, ret(portIs(c.OutboundPort)))
	}
	for _, p := range c.ExcludeInboundPorts {
		rules = append(rules, ret(portIs(p)))
	}
	if len(c.IncludeInboundPorts) == 0 {
		return append(rules, redirectTo(c.InboundPort, anyTCP()))
	}
	for _, p := range c.IncludeInboundPorts {
		rules = append(rules, redirectTo(c.InboundPort, portIs(p)))
	}
	return rules
}

// newTCP returns for everything but the opening segment of a TCP connection. Without the
// look at the flags, connections established before the rules would be caught by their
// next packet, if connection tracking starts with these rules, and break.
func newTCP() rule {
	return ret(rule{"tcp flags & (fin | syn | rst | ack) != syn", append(anyTCP().exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0x02}},
	)})
}

// The constructors below give the matching half of a rule; ret or redirectTo completes it.

func anyTCP() rule {
	return rule{"meta l4proto tcp", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}}
}

func metaIs(key expr.MetaKey, text string, value uint32) rule {
	return rule{text, []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, value)},
	}}
}

func destinationLocal(op expr.CmpOp, not string) rule {
	return rule{"fib daddr type " + not + "local", []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: op, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}}
}

func fromLoopback() rule {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return rule{`iifname "lo"`, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}}
}

func portIs(port uint16) rule {
	return rule{fmt.Sprintf("tcp dport %d", port), append(anyTCP().exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	)}
}

func destinationIn(p netip.Prefix) rule {
	family, word, offset, size := byte(unix.NFPROTO_IPV4), "ip", uint32(16), uint32(4)
	if p.Addr().Is6() {
		family, word, offset, size = unix.NFPROTO_IPV6, "ip6", 24, 16
	}
	return rule{fmt.Sprintf("%s daddr %s", word, p), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: size,
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()), Xor: make([]byte, size),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}}
}

func ret(match rule) rule {
	return rule{match.text + " return", append(match.exprs, &expr.Verdict{Kind: expr.VerdictReturn})}
}

// redirectTo sends what matches to a local port: at 127.0.0.1 or ::1 in the output hook,
// at the receiving interface's first address in the prerouting hook.
func redirectTo(port uint16, match rule) rule {
	return rule{fmt.Sprintf("%s redirect to :%d", match.text, port), append(match.exprs,
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Redir{RegisterProtoMin: 1},
	)}
}

// Describe writes the ruleset in nft's language, for people to read before they install
// it; `nft -f` would take it as it is. The configuration must be valid.
func Describe(c Config) string {
	var b strings.Builder
	// Declared, deleted, declared: the same replacement that Install makes.
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n", c.Table, c.Table, c.Table)
	for i, ch := range c.chains() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype nat hook %s priority -100; policy accept;\n", ch.name, ch.label)
		for _, r := range ch.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
