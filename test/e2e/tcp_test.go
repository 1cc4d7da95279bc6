package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

const (
	dbVirtual     = "10.96.0.20"
	shakyVirtual  = "10.96.0.21"
	ordersVirtual = "10.96.0.22"
)

// tcpObjects are services that do not speak HTTP: db, whose instances have
// sidecars; shaky, of which one instance refuses connections; orders, which
// speaks TLS.
const tcpObjects = `
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: ` + dbVirtual + `, ports: [{port: 5432, appProtocol: postgresql}]}
---
apiVersion: v1
kind: Service
metadata: {name: shaky}
spec: {clusterIP: ` + shakyVirtual + `, ports: [{port: 6379, appProtocol: redis}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shaky, labels: {kubernetes.io/service-name: shaky}}
addressType: IPv4
ports: [{port: 7002}]
endpoints: [{addresses: [10.9.0.1]}, {addresses: [10.9.0.3]}]
---
apiVersion: v1
kind: Service
metadata: {name: orders}
spec: {clusterIP: ` + ordersVirtual + `, ports: [{port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: orders, labels: {kubernetes.io/service-name: orders}}
addressType: IPv4
ports: [{port: 7443}]
endpoints: [{addresses: [10.9.0.1]}]
---
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: tcp}
spec:
  targetRefs: [{kind: Service, name: db}, {kind: Service, name: shaky}]
  balancer: round_robin
  breaker: {consecutiveFailures: 3, openFor: 1m}
`

// A database greets with its name before its client has said anything, answers
// each line with the same line, and says goodbye when its client has ended.
func database(t *testing.T, p *pod, name string, conns *atomic.Int64) {
	stream(t, p.NS, "[::]:5432", func(c net.Conn) {
		_, _ = io.WriteString(c, "hello from "+name+"\n")
		r := bufio.NewReader(c)
		for n := 0; ; n++ {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			if n == 0 {
				conns.Add(1) // its sidecar, which looks whether it accepts, says nothing
			}
			_, _ = io.WriteString(c, line)
		}
		_, _ = io.WriteString(c, "bye\n")
	})
}

// Redirected connections of no known protocol are calls to the service whose
// address they were going to.
func TestTCP(t *testing.T) {
	w := newWorld(t, true)
	w.mesh.Apply(tcpObjects)
	front := w.pod("front", "front-0", false)
	var conns [2]atomic.Int64
	var dbs [2]*pod
	for i := range dbs {
		name := fmt.Sprintf("db-%d", i)
		dbs[i] = w.network()
		database(t, dbs[i], name, &conns[i])
		dbs[i].join(rig.Spec{Service: "db", Instance: name, App: "127.0.0.1:5432", Advertise: dbs[i].addr4, Flags: []string{"--service-port", "5432"}})
	}
	t.Run("the server speaks first", func(t *testing.T) { serverFirst(t, front, dbs, &conns) })
	t.Run("TLS", func(t *testing.T) { serverNames(t, w, front) })
	t.Run("an instance that refuses", func(t *testing.T) { refusing(t, w, front) })
	t.Run("an instance is killed", func(t *testing.T) { killed(t, front, dbs) })
}

func serverFirst(t *testing.T, front *pod, dbs [2]*pod, conns *[2]atomic.Int64) {
	const n, label = 20, `meshd_service="default/db:5432"`
	talk := func() {
		c := front.dial(dbVirtual + ":5432").(*net.TCPConn)
		r := bufio.NewReader(c)
		if line := hearLine(t, c, r); !strings.HasPrefix(line, "hello from db-") {
			t.Fatalf("%q", line)
		}
		say(t, c, "select 1\n")
		if line := hearLine(t, c, r); line != "select 1\n" {
			t.Fatalf("%q", line)
		}
		// Half-closed, it goes on the other way.
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "bye\n" {
			t.Fatalf("%q, %v", rest, err)
		}
	}
	talk() // from now on it is known what db is; its sidecars still find out
	talk()
	began := time.Now()
	for range n - 2 {
		talk()
	}
	if took := time.Since(began); took > (n-2)*100*time.Millisecond {
		t.Errorf("%d conversations took %v: somebody waits for the client to speak", n-2, took)
	}
	for i := range dbs {
		if got := conns[i].Load(); got != n/2 {
			t.Errorf("db-%d got %d connections of %d", i, got, n)
		}
	}
	// As many bytes and connections on both sides as there were.
	const sent, received = n * len("select 1\n"), n * (len("hello from db-0\n") + len("select 1\n") + len("bye\n"))
	process.Await(t, patience, func() error {
		for name, want := range map[string]int{
			"meshd_tcp_connections_total": n, "meshd_tcp_active_connections": 0, "meshd_tcp_connection_duration_seconds_count": n,
		} {
			client := front.sidecar.counted(t, name, label+`,meshd_side="client"`)
			server := dbs[0].sidecar.counted(t, name, label+`,meshd_side="server"`) + dbs[1].sidecar.counted(t, name, label+`,meshd_side="server"`)
			if client != want || server != want {
				return fmt.Errorf("%s: the client's sidecar says %d, the servers' %d, want %d", name, client, server, want)
			}
		}
		return nil
	})
	const io = "meshd_tcp_io_bytes_total"
	for direction, want := range map[string][2]int{"transmit": {sent, received}, "receive": {received, sent}} {
		of := label + `,meshd_side="%s",network_io_direction="` + direction + `"`
		client := front.sidecar.counted(t, io, fmt.Sprintf(of, "client"))
		server := dbs[0].sidecar.counted(t, io, fmt.Sprintf(of, "server")) + dbs[1].sidecar.counted(t, io, fmt.Sprintf(of, "server"))
		if client != want[0] || server != want[1] {
			t.Errorf("%s: the client's sidecar says %d, the servers' %d, want %v", direction, client, server, want)
		}
	}
	if n := front.sidecar.counted(t, "meshd_passthrough_total", ""); n != 0 {
		t.Errorf("%d passed through", n)
	}
}

// TLS goes to the service that it names, whatever address that was looked up
// to; or else to the one that has the address, or on to where it was going.
func serverNames(t *testing.T, w *world, front *pod) {
	// A server that says which name it was called by.
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	certificate.Close()
	answer := func(who string) func(net.Conn) {
		return func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: certificate.TLS.Certificates})
			if s.Handshake() == nil {
				_, _ = io.WriteString(s, who+" "+s.ConnectionState().ServerName)
				_ = s.Close()
			}
		}
	}
	stream(t, w.router, "10.9.0.1:7443", answer("orders"))
	stream(t, w.router, "10.9.0.1:443", answer("outside"))
	for _, tc := range []struct{ name, addr, want string }{
		{"orders.default.svc.cluster.local", "10.96.77.7:443", "orders orders.default.svc.cluster.local"},
		{"orders", "10.9.0.1:443", "orders orders"},
		{"shop.example.com", ordersVirtual + ":443", "orders shop.example.com"},
		{"shop.example.com", "10.9.0.1:443", "outside shop.example.com"},
	} {
		c := tls.Client(front.dial(tc.addr), &tls.Config{ServerName: tc.name, InsecureSkipVerify: true})
		_ = c.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); err != nil || string(got) != tc.want {
			t.Errorf("%s at %s: %q, %v; want %q", tc.name, tc.addr, got, err, tc.want)
		}
	}
	if n := front.sidecar.counted(t, "meshd_tcp_connections_total", `"default/orders:443"`); n != 3 {
		t.Errorf("%d connections to orders", n)
	}
	if n := front.sidecar.counted(t, "meshd_passthrough_total", ""); n != 1 {
		t.Errorf("%d passed through", n)
	}
}

// An instance that refuses connections costs no call, and its breaker opens.
func refusing(t *testing.T, w *world, front *pod) {
	w.router.Addr(t, "lo", "10.9.0.3/32") // where nobody listens
	stream(t, w.router, "10.9.0.1:7002", func(c net.Conn) { _, _ = io.Copy(c, c) })
	for i := range 12 {
		c := front.dial(shakyVirtual + ":6379").(*net.TCPConn)
		say(t, c, "PING\r\n")
		_ = c.CloseWrite()
		if got := hear(t, c); got != "PING\r\n" {
			t.Fatalf("connection %d: %q", i, got)
		}
	}
	const label = `meshd_service="default/shaky:6379"`
	for name, want := range map[string]int{
		"meshd_endpoint_requests_total": 15, "meshd_endpoint_failures_total": 3,
		"meshd_client_retries_total": 3, "meshd_breaker_open": 1,
	} {
		if n := front.sidecar.counted(t, name, label); n != want {
			t.Errorf("%s: %d, want %d", name, n, want)
		}
	}
}

// killed is an instance that goes without a word: its connections end, and new
// ones go to the other at once.
func killed(t *testing.T, front *pod, dbs [2]*pod) {
	var open [2]net.Conn
	var readers [2]*bufio.Reader
	for i := range open {
		open[i] = front.dial(dbVirtual + ":5432")
		readers[i] = bufio.NewReader(open[i])
		hearLine(t, open[i], readers[i])
	}
	dbs[1].sidecar.Kill()
	for range 10 {
		c := front.dial(dbVirtual + ":5432")
		if line := hearLine(t, c, bufio.NewReader(c)); line != "hello from db-0\n" {
			t.Fatalf("%q", line)
		}
	}
	alive, gone := 0, 0
	for i, c := range open {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "still there?\n")
		switch _, err := readers[i].ReadString('\n'); {
		case err == nil:
			alive++
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			gone++
		default:
			t.Error(err)
		}
	}
	if alive != 1 || gone != 1 {
		t.Errorf("of two connections %d live and %d have ended", alive, gone)
	}
	const label = `meshd_service="default/db:5432",meshd_side="client",error_type="connection_terminated"`
	process.Await(t, patience, func() error {
		if n := front.sidecar.counted(t, "meshd_tcp_connection_duration_seconds_count", label); n != 1 {
			return fmt.Errorf("%d connections ended by the server", n)
		}
		return nil
	})
}
