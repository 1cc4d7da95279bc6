package supervise

import (
	"fmt"
	"net"
	"strings"
)

// A TCPListen is a listener of a sidecar that stands for a service that does
// not speak HTTP: SERVICE:PORT on a port of the instance's own, which the
// application is told, or at a given address, which one instance can have.
type TCPListen struct {
	Addr    string // IP:PORT; empty: a free port
	Service string // host:port, as callers name it
}

// ParseTCPListen reads SERVICE:PORT or IP:PORT=SERVICE:PORT.
func ParseTCPListen(s string) (TCPListen, error) {
	addr, service, given := strings.Cut(s, "=")
	if !given {
		addr, service = "", s
	}
	host, port, err := net.SplitHostPort(service)
	if err != nil || host == "" || port == "" || given && addr == "" {
		return TCPListen{}, fmt.Errorf("%q: want SERVICE:PORT such as postgres:5432, or IP:PORT=SERVICE:PORT", s)
	}
	return TCPListen{Addr: addr, Service: service}, nil
}

// Variable is where an application finds the address: MESHD_TCP_POSTGRES_5432.
func (l TCPListen) Variable() string {
	return "MESHD_TCP_" + strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		}
		return '_'
	}, l.Service)
}

// Ports is how many ports an instance needs.
func (m Meshed) Ports() int {
	n := MeshedPorts
	for _, l := range m.TCPListen {
		if l.Addr == "" {
			n++
		}
	}
	return n
}

// tcpListeners gives each listener its address: the sidecar's flags, what the
// application is told, and the ports that it takes of those given.
func (m Meshed) tcpListeners(ports []int) (flags, env []string) {
	for _, l := range m.TCPListen {
		if l.Addr == "" {
			l.Addr, ports = loopback(ports[0]), ports[1:]
		}
		flags = append(flags, "--tcp-listen", l.Addr+"="+l.Service)
		env = append(env, l.Variable()+"="+l.Addr)
	}
	return flags, env
}
