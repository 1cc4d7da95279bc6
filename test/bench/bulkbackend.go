package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// patternSize is not a power of two, so that a piece lost or repeated shifts
// what follows.
const patternSize = 1<<20 - 13

// thePattern is what bulk consists of: noise, the same in every process.
func thePattern() []byte {
	b := make([]byte, patternSize)
	x := uint64(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// tcpBackendMain serves bulk on addrs until ctx ends.
func tcpBackendMain(ctx context.Context, addrs []string) error {
	file, err := patternFile()
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	errs := make(chan error)
	for _, addr := range addrs {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return fmt.Errorf("backend: %w", err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					errs <- err
					return
				}
				go func() {
					defer c.Close()
					sendBulk(c.(*net.TCPConn), file) // the client counts what fails
				}()
			}
		}()
	}
	return until(ctx, errs)
}

// patternFile is the path of thePattern in memory, for sendfile(2).
func patternFile() (string, error) {
	fd, err := unix.MemfdCreate("pattern", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("memfd_create: %w", err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	return path, os.WriteFile(path, thePattern(), 0)
}

// sendBulk is the backend's side of one connection. It costs little: the
// pattern's pages go from memory to the socket without being copied.
func sendBulk(c *net.TCPConn, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var one [1]byte
	if _, err := io.ReadFull(c, one[:]); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() {
		_, err := c.Read(one[:])
		closed <- err
	}()
	var sent uint64
	for {
		select {
		case err := <-closed:
			if err != io.EOF {
				return err
			}
			_, err = c.Write(binary.BigEndian.AppendUint64(nil, sent))
			return err
		default:
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		n, err := c.ReadFrom(&io.LimitedReader{R: f, N: patternSize})
		if err != nil {
			return err
		}
		sent += uint64(n)
	}
}
