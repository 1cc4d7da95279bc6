package netns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const vethInfoPeer = 1 // VETH_INFO_PEER of linux/veth.h

// Veth joins two namespaces by a virtual cable: an interface named dev in n and one named
// peerDev in peer, both up.
func (n *NS) Veth(t testing.TB, dev string, peer *NS, peerDev string) {
	t.Helper()
	other := netlink.NewAttributeEncoder()
	other.String(unix.IFLA_IFNAME, peerDev)
	other.Uint32(unix.IFLA_NET_NS_FD, uint32(peer.f.Fd()))
	otherAttrs, err := other.Encode()
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewAttributeEncoder()
	attrs.String(unix.IFLA_IFNAME, dev)
	attrs.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.IFLA_INFO_KIND, "veth")
		ae.Nested(unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(vethInfoPeer, append(ifInfo(0, 0), otherAttrs...))
			return nil
		})
		return nil
	})
	n.request(t, "veth "+dev, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, ifInfo(0, 0), attrs)
	n.Up(t, dev)
	peer.Up(t, peerDev)
}

// Up sets an interface up.
func (n *NS) Up(t testing.TB, dev string) {
	t.Helper()
	n.request(t, "set up "+dev, unix.RTM_NEWLINK, 0, ifInfo(n.index(t, dev), unix.IFF_UP), netlink.NewAttributeEncoder())
}

// Addr gives an interface an address. IPv6 addresses are usable at once: duplicate
// address detection is left out.
func (n *NS) Addr(t testing.TB, dev, prefix string) {
	t.Helper()
	p := netip.MustParsePrefix(prefix)
	head := make([]byte, unix.SizeofIfAddrmsg)
	head[0], head[1], head[2] = family(p.Addr()), byte(p.Bits()), unix.IFA_F_NODAD
	binary.NativeEndian.PutUint32(head[4:], n.index(t, dev))
	attrs := netlink.NewAttributeEncoder()
	attrs.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
	attrs.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
	n.request(t, "address "+prefix, unix.RTM_NEWADDR, netlink.Create|netlink.Excl, head, attrs)
}

// Route sends prefix out of an interface, through a gateway unless via is empty.
func (n *NS) Route(t testing.TB, prefix, via, dev string) {
	t.Helper()
	p := netip.MustParsePrefix(prefix)
	head := make([]byte, unix.SizeofRtMsg)
	head[0], head[1] = family(p.Addr()), byte(p.Bits())
	head[4], head[5], head[7] = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RTN_UNICAST
	attrs := netlink.NewAttributeEncoder()
	attrs.Bytes(unix.RTA_DST, p.Addr().AsSlice())
	attrs.Uint32(unix.RTA_OIF, n.index(t, dev))
	if via != "" {
		attrs.Bytes(unix.RTA_GATEWAY, netip.MustParseAddr(via).AsSlice())
	}
	n.request(t, "route "+prefix, unix.RTM_NEWROUTE, netlink.Create|netlink.Excl, head, attrs)
}

// request performs one acknowledged rtnetlink request inside the namespace.
func (n *NS) request(t testing.TB, what string, typ uint16, flags netlink.HeaderFlags, head []byte, attrs *netlink.AttributeEncoder) {
	t.Helper()
	tail, err := attrs.Encode()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	err = n.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request | netlink.Acknowledge | flags},
			Data:   append(head, tail...),
		})
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (n *NS) index(t testing.TB, dev string) uint32 {
	t.Helper()
	var ifi *net.Interface
	err := n.Do(func() (err error) {
		ifi, err = net.InterfaceByName(dev)
		return err
	})
	if err != nil {
		t.Fatal(fmt.Errorf("interface %s: %w", dev, err))
	}
	return uint32(ifi.Index)
}

// ifInfo is a struct ifinfomsg that changes the given flags to set.
func ifInfo(index, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], flags)
	return b
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
