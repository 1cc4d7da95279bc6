package listener

import (
	"errors"
	"net/netip"
	"syscall"
)

// ListenBoth is Listen for a port that redirect rules lead to. When addr is 127.0.0.1 or
// ::1, the other of the two is bound as well, with the same port and a MaxConns of its own:
// redirected outbound IPv4 connections arrive at the one, IPv6 connections at the other. A
// machine without the other family has one listener. For any other address there is one.
func ListenBoth(addr string, o Options) ([]*Listener, error) {
	l, err := Listen(addr, o)
	if err != nil {
		return nil, err
	}
	other, ok := twin(l.Addr())
	if !ok {
		return []*Listener{l}, nil
	}
	l2, err := Listen(other.String(), o)
	switch {
	case err == nil:
		return []*Listener{l, l2}, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return []*Listener{l}, nil
	}
	l.Close()
	return nil, err
}

// twin gives [::1]:15001 for 127.0.0.1:15001 and the reverse.
func twin(ap netip.AddrPort) (netip.AddrPort, bool) {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	switch ap.Addr().Unmap() {
	case v4:
		return netip.AddrPortFrom(v6, ap.Port()), true
	case v6:
		return netip.AddrPortFrom(v4, ap.Port()), true
	}
	return netip.AddrPort{}, false
}
