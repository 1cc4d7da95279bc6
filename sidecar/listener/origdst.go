package listener

import (
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Both are 80: SO_ORIGINAL_DST of linux/netfilter_ipv4.h at level SOL_IP and
// IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h at level SOL_IPV6.
const soOriginalDst = 80

// OriginalDst tells where a connection was going before a redirect rule brought it here.
// false: it was not redirected; its peer called this very address. IPv4 destinations are
// given as such even when the listener is dual-stack. One system call on the connection's
// own descriptor, which is neither duplicated nor made blocking.
func OriginalDst(c *net.TCPConn) (netip.AddrPort, bool) {
	local := localAddr(c)
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, false
	}
	var dst netip.AddrPort
	err = raw.Control(func(fd uintptr) {
		if local.Addr().Is4() {
			dst = originalDst4(int(fd))
		} else {
			dst = originalDst6(int(fd))
		}
	})
	if err != nil || !dst.IsValid() || sameAddr(dst, local) {
		return netip.AddrPort{}, false
	}
	return dst, true
}

func localAddr(c *net.TCPConn) netip.AddrPort {
	a, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// sameAddr ignores zones: the kernel gives an index where Go gives a name.
func sameAddr(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().WithZone("") == b.Addr().WithZone("")
}

// originalDst4 asks for a sockaddr_in through the one wrapper of x/sys that returns 16
// bytes untouched. ENOENT: connection tracking does not know the connection.
func originalDst4(fd int) netip.AddrPort {
	m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}
	}
	b := m.Multiaddr // family 2, port 2, address 4, zero 8
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3]))
}

// originalDst6 asks for a sockaddr_in6 the same way.
func originalDst6(fd int) netip.AddrPort {
	m, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}
	}
	port := (*[2]byte)(unsafe.Pointer(&m.Addr.Port)) // network byte order
	ip := netip.AddrFrom16(m.Addr.Addr)
	if ip.IsLinkLocalUnicast() && m.Addr.Scope_id != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(m.Addr.Scope_id), 10))
	}
	return netip.AddrPortFrom(ip, uint16(port[0])<<8|uint16(port[1]))
}
