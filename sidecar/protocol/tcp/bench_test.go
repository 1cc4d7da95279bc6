package tcp

import (
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Both benchmarks pay for the peers' system calls as well: per message two
// reads and two writes, and what they pay to wait.

// BenchmarkMessages is a request and its answer, one at a time, as Redis has them.
func BenchmarkMessages(b *testing.B) {
	for _, size := range []int{64, 4096} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			client, server := benchRelay(b)
			go func() {
				_, _ = io.CopyBuffer(struct{ io.Writer }{server}, struct{ io.Reader }{server}, make([]byte, size))
			}()
			msg := make([]byte, size)
			b.ReportAllocs()
			began := cpu()
			for b.Loop() {
				if _, err := client.Write(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, msg); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkBulk is one direction, 1 MiB an operation.
func BenchmarkBulk(b *testing.B) {
	client, server := benchRelay(b)
	got := make(chan int64, 1)
	go func() {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{server}, make([]byte, 256<<10))
		got <- n
	}()
	chunk := make([]byte, 1<<20)
	b.SetBytes(int64(len(chunk)))
	began := cpu()
	for b.Loop() {
		if _, err := client.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = client.CloseWrite()
	if n := <-got; n != int64(b.N)<<20 {
		b.Fatalf("%d bytes of %d", n, int64(b.N)<<20)
	}
	b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op")
}

func benchRelay(b *testing.B) (client, server *net.TCPConn) {
	b.Helper()
	client, near := pair(b)
	server, far := pair(b)
	for _, c := range []net.Conn{client, server} {
		_ = c.SetDeadline(time.Time{})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = Relay(b.Context(), near, far, Options{IdleTimeout: time.Hour})
	}()
	b.Cleanup(func() {
		_, _ = client.Close(), server.Close()
		<-done
	})
	return client, server
}

// cpu is the time that the process has used, in nanoseconds.
func cpu() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
