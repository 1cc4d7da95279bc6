package supervise

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// MeshedPorts is how many ports an instance with a sidecar needs at least: the
// application's and the sidecar's inbound, outbound and admin.
const MeshedPorts = 4

// A Meshed is a service whose instances are an application, told its port in
// $PORT, with a sidecar each.
type Meshed struct {
	Name, Namespace string
	Port            int // that callers name
	Command         []string
	Dir             string
	Env             []string // for the application
	// ReadyPath is asked of the application with GET; empty: it is ready when
	// it accepts connections.
	ReadyPath string
	Restart   Restart // of the application; the sidecar is permanent
	// ProxyEnv sets HTTP_PROXY, http_proxy and NO_PROXY for the application.
	ProxyEnv bool
	// AppProtocol is what the application speaks, as the sidecar's
	// --app-protocol has it; empty is auto.
	AppProtocol string
	// TCPListen are listeners for the application's calls that are not HTTP.
	TCPListen []TCPListen

	Sidecar     string // path of the binary
	SidecarArgs []string
	SidecarEnv  []string
	MeshdXDS    string // host:port
	// StateDir holds a directory an instance, for the sidecar's last good
	// configuration.
	StateDir string

	Drain time.Duration // given to the sidecar to finish calls, 30 s if zero
	Grace time.Duration // from SIGTERM to SIGKILL for the application, 10 s if zero

	Stdout, Stderr io.Writer // as in Spec
}

const (
	defaultDrain = 30 * time.Second
	defaultGrace = 10 * time.Second
	// drainMargin is what a sidecar has after its drain to end by itself.
	drainMargin = 2 * time.Second
)

// Build is for PoolConfig.Build; it needs Ports() ports and creates the
// instance's state directory.
func (m Meshed) Build(instance string, ports []int) ([]Spec, error) {
	state := filepath.Join(m.StateDir, instance)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("state directory of %s: %w", instance, err)
	}
	app, inbound, outbound, admin := loopback(ports[0]), loopback(ports[1]), loopback(ports[2]), loopback(ports[3])
	ready := Probe{TCP: app}
	if m.ReadyPath != "" {
		ready = Probe{HTTP: "http://" + app + m.ReadyPath}
	}
	flags, tcp := m.tcpListeners(ports[MeshedPorts:])
	if m.AppProtocol != "" && m.AppProtocol != "auto" {
		flags = append(flags, "--app-protocol", m.AppProtocol)
	}
	return []Spec{
		{
			Name: "app", Path: m.Command[0], Args: m.Command[1:], Dir: m.Dir,
			Env:     slices.Concat(m.appEnv(instance, ports[0], outbound), tcp, m.Env),
			Restart: m.Restart, Significant: true, Ready: ready,
			Grace: orDefault(m.Grace, defaultGrace), Ports: ports[:1],
			Stdout: m.Stdout, Stderr: m.Stderr, Prefix: instance + " | ",
		},
		{
			Name: "sidecar", Path: m.Sidecar, Env: m.SidecarEnv,
			Args: slices.Concat([]string{
				"--service", m.Name, "--namespace", m.Namespace, "--instance", instance,
				"--service-port", strconv.Itoa(m.Port), "--meshd", m.MeshdXDS,
				"--app", app, "--inbound", inbound, "--outbound", outbound, "--admin", admin,
				"--state-dir", state, "--drain", orDefault(m.Drain, defaultDrain).String(),
			}, flags, m.SidecarArgs),
			Ready: Probe{HTTP: "http://" + admin + "/ready"},
			Grace: orDefault(m.Drain, defaultDrain) + drainMargin, Ports: ports[1:],
			Stdout: m.Stdout, Stderr: m.Stderr, Prefix: instance + " sidecar | ",
		},
	}, nil
}

// appEnv is what the application is told. Names without the mesh's help stay
// reachable: the sidecar passes on what it does not know.
func (m Meshed) appEnv(instance string, port int, outbound string) []string {
	env := []string{
		"PORT=" + strconv.Itoa(port),
		"MESHD_SERVICE=" + m.Name,
		"MESHD_NAMESPACE=" + m.Namespace,
		"MESHD_INSTANCE=" + instance,
		"MESHD_OUTBOUND=" + outbound,
	}
	if m.ProxyEnv {
		const direct = "localhost,127.0.0.1,::1,169.254.169.254"
		env = append(env, "HTTP_PROXY=http://"+outbound, "http_proxy=http://"+outbound,
			"NO_PROXY="+direct, "no_proxy="+direct)
	}
	return env
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
