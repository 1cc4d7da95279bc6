package tracing

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// A dialFunc opens a TCP connection; nil: as Go does.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// grpc is the option that makes gRPC dial a host so. It takes no proxy from the
// environment then; where that names one and d is nil, it is left to.
func (d dialFunc) grpc(host string) []grpc.DialOption {
	if d == nil {
		if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: host}}); err != nil || proxy != nil {
			return nil
		}
		d = new(net.Dialer).DialContext
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := d(ctx, "tcp", addr)
		if tcp, ok := c.(*net.TCPConn); ok && err == nil {
			if raw, err := tcp.SyscallConn(); err == nil {
				return &swiftConn{tcp, raw}, nil
			}
		}
		return c, err
	})}
}

// A swiftConn reads and writes without telling the scheduler of a system call,
// since none of its own waits. Told of one, Go's monitor thread gets up, looks
// every 20 µs whether it takes longer than that, as a batch of spans does, and
// hands the processor over to another thread then: a sixth of what it cost to
// trace all calls. It is no syscall.Conn: gRPC would read by itself.
type swiftConn struct {
	net.Conn
	raw syscall.RawConn
}

// Read is net.Conn's.
func (c *swiftConn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	waited := c.raw.Read(func(fd uintptr) bool {
		var got uintptr
		got, errno = uninterrupted(syscall.SYS_RECVFROM, fd, p, 0)
		n = int(got)
		return errno != syscall.EAGAIN
	})
	switch {
	case waited != nil:
		return 0, waited
	case errno != 0:
		return 0, c.failed("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write is net.Conn's.
func (c *swiftConn) Write(p []byte) (done int, err error) {
	var errno syscall.Errno
	waited := c.raw.Write(func(fd uintptr) bool {
		for done < len(p) {
			var n uintptr
			if n, errno = uninterrupted(syscall.SYS_SENDTO, fd, p[done:], unix.MSG_NOSIGNAL); errno != 0 {
				return errno != syscall.EAGAIN
			}
			done += int(n)
		}
		return true
	})
	switch {
	case waited != nil:
		return done, waited
	case errno != 0:
		return done, c.failed("write", errno)
	}
	return done, nil
}

// uninterrupted makes a system call until no signal comes between.
func uninterrupted(call, fd uintptr, p []byte, flags uintptr) (uintptr, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}

func (c *swiftConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
