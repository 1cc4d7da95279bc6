package h1

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/meshd/meshd/sidecar/stats"
)

func TestDialError(t *testing.T) {
	for want, errs := range map[stats.ErrorType][]error{
		stats.ErrConnectionTimeout:       {os.ErrDeadlineExceeded, context.DeadlineExceeded, syscall.ETIMEDOUT},
		stats.ErrConnectionRefused:       {syscall.ECONNREFUSED, syscall.ECONNRESET},
		stats.ErrDestinationIPUnroutable: {syscall.ENETUNREACH, syscall.EHOSTUNREACH},
		stats.ErrDNSError:                {&net.DNSError{}},
	} {
		for _, err := range errs {
			if got := DialError(&net.OpError{Op: "dial", Err: err}); got != want {
				t.Errorf("%v: %v, want %v", err, got, want)
			}
		}
	}
	// What the dialer's own timeout says.
	d := net.Dialer{Timeout: 1}
	if _, err := d.Dial("tcp", "127.0.0.1:9"); err == nil || DialError(err) != stats.ErrConnectionTimeout {
		t.Errorf("%v: %v", err, DialError(err))
	}
}
