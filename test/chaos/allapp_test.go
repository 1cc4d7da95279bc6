package chaos

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/grpc"
)

// everything adds the protocols of the mixed traffic to an application's
// handler: gRPC, and WebSocket, whose bytes come back as they are.
func everything(next http.Handler) http.Handler {
	g := grpc.NewServer((&grpcApp{}).options()...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			g.ServeHTTP(w, r)
		case r.Header.Get("Upgrade") == "websocket":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(conn, rw.Reader)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// opaqueByte begins the connections that speak no protocol: their bytes come
// back.
const opaqueByte = 0

// A splitter is a listener that keeps such connections for itself.
type splitter struct {
	net.Listener
	http chan net.Conn
	err  error // why Accept ended; set before http is closed
	work sync.WaitGroup
}

func split(l net.Listener) *splitter {
	s := &splitter{Listener: l, http: make(chan net.Conn)}
	go func() {
		defer close(s.http)
		for {
			conn, err := l.Accept()
			if err != nil {
				s.err = err
				s.work.Wait()
				return
			}
			s.work.Go(func() { s.look(conn) })
		}
	}()
	return s
}

func (s *splitter) look(conn net.Conn) {
	in := bufio.NewReader(conn)
	first, err := in.Peek(1)
	if err != nil {
		_ = conn.Close()
		return
	}
	if first[0] == opaqueByte {
		_, _ = io.Copy(conn, in)
		_ = conn.Close()
		return
	}
	s.http <- &peeked{conn, in}
}

// Accept is for what speaks HTTP, of either version.
func (s *splitter) Accept() (net.Conn, error) {
	if conn, ok := <-s.http; ok {
		return conn, nil
	}
	return nil, s.err
}

// peeked is a connection of which bytes were read already.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }
