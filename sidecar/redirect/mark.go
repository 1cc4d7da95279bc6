package redirect

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Marker returns a net.Dialer's Control function that puts mark on sockets before they
// connect, so that rules installed with the same Mark leave them alone. It returns nil
// when mark is 0 or when the process may not mark sockets (CAP_NET_ADMIN, or CAP_NET_RAW
// since Linux 5.17): then the user id is what tells the sidecar's connections. It asks the
// kernel once, when called.
func Marker(mark uint32) func(network, address string, c syscall.RawConn) error {
	if mark == 0 || !mayMark(mark) {
		return nil
	}
	return func(_, address string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = setMark(int(fd), mark) }); cerr != nil {
			return cerr
		}
		if err != nil {
			return fmt.Errorf("mark %#x for %s: %w", mark, address, err)
		}
		return nil
	}
}

func mayMark(mark uint32) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return setMark(fd, mark) == nil
}

func setMark(fd int, mark uint32) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
}
