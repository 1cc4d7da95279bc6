package supervise

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// Ports are drawn from below the kernel's ephemeral range where there is
// room: a port out of that range may be taken by any outgoing connection
// while its instance restarts.
const (
	lowestPort   = 20000
	portAttempts = 64
)

// FreePorts returns n distinct ports that nobody listened on, on loopback, at
// that moment; none of them is in taken. Another process may still be faster:
// see ErrPortTaken.
func FreePorts(n int, taken map[int]bool) ([]int, error) {
	ports := make([]int, 0, n)
	mine := map[int]bool{}
	span := ephemeralFrom() - lowestPort
	for try := 0; len(ports) < n && try < n*portAttempts; try++ {
		ask := 0 // the kernel chooses
		if span > 1000 && try < n*portAttempts/2 {
			ask = lowestPort + rand.IntN(span)
		}
		port, err := listenable(ask)
		if err != nil || taken[port] || mine[port] {
			continue
		}
		mine[port] = true
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("no %d free ports on 127.0.0.1", n)
	}
	return ports, nil
}

// listenable returns the port that a listener on it got.
func listenable(port int) (int, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func portTaken(port int) bool {
	_, err := listenable(port)
	return err != nil
}

// ephemeralFrom is the first port that the kernel gives to outgoing
// connections.
func ephemeralFrom() int {
	const usual = 32768
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	from := 0
	if _, err := fmt.Sscan(string(b), &from); err != nil {
		return usual
	}
	return from
}
