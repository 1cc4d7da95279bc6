package chaos

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/internal/testkit/race"
)

const (
	// targetEnv and countEnv tell the crowd where to connect and how often.
	targetEnv = "CHAOS_TARGET"
	countEnv  = "CHAOS_COUNT"
)

// crowd opens connections and holds them, half of them after a call, until
// SIGTERM. It is a process of its own for its file descriptors.
func crowd() error {
	count, err := strconv.Atoi(os.Getenv(countEnv))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	target := os.Getenv(targetEnv)
	l := load{addr: target, host: authority, method: "GET"}
	call := &running{load: l, request: []byte("GET / HTTP/1.1\r\nHost: " + authority + "\r\n\r\n")}
	held := make([]caller, count)
	for i := range held {
		if i%2 == 0 {
			_, err = held[i].call(call)
		} else {
			held[i].conn, err = net.DialTimeout("tcp", target, callTimeout)
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	fmt.Println("all are open")
	<-ctx.Done()
	for i := range held {
		held[i].close()
	}
	return nil
}

// TestIdleConnections: ten thousand of them cost little memory and no time.
func TestIdleConnections(t *testing.T) {
	const (
		count   = 10000
		perConn = 25 << 10 // bytes
		slack   = 40       // connections of the load beside
	)
	r := newRig(t)
	r.run(1)
	r.awaitReady(1)
	c := r.client("--max-connections", strconv.Itoa(count+500))
	c.awaitEndpoints(1)
	warm := c.load(500).start(t)
	warm.forSeconds(1)
	before := warm.clean("before")
	rssBefore, fdBefore := process.RSS(t, c.PID), process.Descriptors(t, c.PID)

	from := time.Now()
	idlers := start(t, "the crowd", []string{
		roleEnv + "=crowd", targetEnv + "=" + c.outbound, countEnv + "=" + strconv.Itoa(count),
	}, os.Args[0])
	process.Await(t, patience, func() error {
		if strings.Contains(idlers.Out.String(), "all are open") {
			return nil
		}
		return fmt.Errorf("the crowd says %q", &idlers.Out)
	})
	opened := time.Since(from)
	// Some of those before may still have been open when they were counted.
	if n := process.Descriptors(t, c.PID) - fdBefore; n < count-slack {
		t.Errorf("the sidecar has %d descriptors more, want %d", n, count)
	}
	calls := c.load(500).start(t)
	peak := int64(0)
	for range 10 {
		calls.forSeconds(0.2)
		peak = max(peak, process.RSS(t, c.PID))
	}
	during := calls.clean("beside them")
	each := (peak - rssBefore) / count
	t.Logf("%d connections opened in %v; RSS %.1f MB, then at most %.1f MB: %.1f KB a connection; p99 %v, then %v",
		count, opened.Round(time.Millisecond), mb(rssBefore), mb(peak), float64(each)/1024,
		before.p99.Round(10*time.Microsecond), during.p99.Round(10*time.Microsecond))
	if each > perConn && !race.Enabled {
		t.Errorf("an idle connection takes %d bytes, want at most %d", each, perConn)
	}
	if during.p99 > 250*time.Millisecond && !race.Enabled {
		t.Errorf("p99 beside idle connections is %v, want it low: at most 250 ms on a busy machine", during.p99)
	}

	idlers.Kill()
	took := process.Await(t, patience, func() error {
		if n := process.Descriptors(t, c.PID); n > fdBefore+slack {
			return fmt.Errorf("%d descriptors are open, %d were before", n, fdBefore)
		}
		return nil
	})
	t.Logf("all closed %v after their client was killed; RSS %.1f MB", took.Round(time.Millisecond), mb(process.RSS(t, c.PID)))
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }
