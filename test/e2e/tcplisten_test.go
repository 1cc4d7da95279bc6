package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// Where nothing is redirected, a listener of its own stands for a service. Its
// connections are calls, whose spans say how many bytes there were.
func TestTCPListen(t *testing.T) {
	m := newMesh(t, nil, "", "")
	// The instance's server speaks first, and its sidecar is told so.
	smtp := stream(t, nil, "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.WriteString(c, "220 ready\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "250 "+line)
	})
	outside := stream(t, nil, "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	_, outsidePort, _ := net.SplitHostPort(outside)
	spans := &sink{}
	env := append(spans.environment(t, "grpc"), "OTEL_TRACES_SAMPLER=always_on")
	server := m.sidecar(rig.Spec{Service: "mail", Instance: "mail-0", App: smtp, Env: env, Flags: []string{"--app-protocol", "tcp"}})
	m.AwaitReady("mail-0")

	addrs := rig.Addrs(t, 3)
	front := m.sidecar(rig.Spec{Service: "front", Instance: "front-0", Env: env, Flags: []string{
		"--tcp-listen", addrs[0] + "=mail:8080",
		"--tcp-listen", addrs[1] + "=localhost:" + outsidePort, // DNS has it, the mesh has not
		"--tcp-listen", addrs[2] + "=nobody.invalid:25",
		"--max-tcp-connections", "2",
	}})
	open := func(i int) net.Conn {
		c, err := net.Dial("tcp", addrs[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	refused := func(i int, why string) {
		c, err := net.Dial("tcp", addrs[i]) // the reset may come before we look
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(patience))
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", why, err)
		}
	}
	first, second := open(0), open(0)
	for _, c := range []net.Conn{first, second} {
		if line := hearLine(t, c, bufio.NewReader(c)); line != "220 ready\r\n" {
			t.Fatalf("%q", line)
		}
	}
	// Bytes count while connections live; a third one is beyond the bound.
	const label = `meshd_service="default/mail:8080"`
	process.Await(t, patience, func() error { // they are counted once they are written
		if n := front.counted(t, "meshd_tcp_io_bytes_total", label+`,meshd_side="client",network_io_direction="receive"`); n != 2*len("220 ready\r\n") {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	if n := front.counted(t, "meshd_tcp_active_connections", label); n != 2 {
		t.Errorf("%d connections are open", n)
	}
	refused(0, "beyond the bound")
	if n := front.counted(t, "meshd_tcp_refused_total", `error_type="connection_limit_reached"`); n != 1 {
		t.Errorf("%d refused", n)
	}
	say(t, first, "EHLO me\n")
	if got := hear(t, first); got != "250 EHLO me\n" {
		t.Errorf("%q", got)
	}
	_, _ = first.Close(), second.Close()
	process.Await(t, patience, func() error {
		if n := front.counted(t, "meshd_tcp_active_connections", ""); n != 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})

	c := open(1)
	say(t, c, "\x00through")
	_ = c.(*net.TCPConn).CloseWrite()
	if got := hear(t, c); got != "\x00through" {
		t.Errorf("%q", got)
	}
	refused(2, "a name of nobody")
	if n := server.counted(t, "meshd_tcp_connections_total", `meshd_side="server"`); n != 2 {
		t.Errorf("the instance's sidecar counts %d connections", n)
	}

	// Of the first conversation: the connection, its dial, and the server's side.
	process.Await(t, patience, func() error {
		var client, dial, served bool
		for _, s := range spans.all() {
			if s.attrs["meshd.service"] != "default/mail:8080" || s.attrs["network.transport"] != "tcp" {
				continue
			}
			if s.Name != "TCP mail.default" {
				return fmt.Errorf("the name %q", s.Name)
			}
			const said, heard = int64(len("EHLO me\n")), int64(len("220 ready\r\n250 EHLO me\n"))
			sent, received := s.attrs["meshd.bytes.sent"], s.attrs["meshd.bytes.received"]
			switch s.Kind {
			case tracepb.Span_SPAN_KIND_SERVER:
				served = served || sent == heard && received == said
			case tracepb.Span_SPAN_KIND_CLIENT:
				client = client || sent == said && received == heard && s.attrs["server.address"] == "mail.default"
				dial = dial || sent == nil && s.attrs["meshd.endpoint.id"] == "mail-0"
			}
		}
		if !client || !dial || !served {
			return fmt.Errorf("the client's span %v, the dial's %v, the server's %v, of %d", client, dial, served, len(spans.all()))
		}
		return nil
	})
}

// SIGTERM lets connections end.
func TestTCPDrain(t *testing.T) {
	m := newMesh(t, nil, "", "")
	echo := stream(t, nil, "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	listen := rig.Addrs(t, 1)[0]
	front := m.sidecar(rig.Spec{Service: "front", Instance: "front-0", Flags: []string{"--tcp-listen", listen + "=" + echo}})
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, "one\n")
	r := bufio.NewReader(c)
	hearLine(t, c, r)
	if err := syscall.Kill(front.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	process.Await(t, patience, func() error {
		if _, err := front.get("/ready"); err == nil {
			return errors.New("it is ready")
		}
		return nil
	})
	say(t, c, "two\n")
	if line := hearLine(t, c, r); line != "two\n" {
		t.Errorf("%q", line)
	}
	_ = c.Close()
	process.Await(t, patience, func() error {
		if !front.Ended() {
			return errors.New("it runs")
		}
		return nil
	})
	if code := front.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
