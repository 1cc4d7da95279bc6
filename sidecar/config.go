// Package sidecar is the data plane: it takes the calls that an instance makes
// and receives, and sends each where the mesh says. It keeps serving when
// everything else is down.
package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// OutboundPolicy says what happens to calls to what the mesh does not know.
type OutboundPolicy string

// The policies.
const (
	Passthrough OutboundPolicy = "passthrough" // on to where they were going
	Deny        OutboundPolicy = "deny"        // refused, with 403
)

// AppProtocol is what the application speaks.
type AppProtocol string

// The protocols. What is not TCP is looked into: its calls are told apart.
const (
	AppAuto AppProtocol = "auto" // what the caller speaks; TCP where the mesh says so of the service
	AppHTTP AppProtocol = "http" // HTTP/1.1
	AppH2C  AppProtocol = "h2c"  // HTTP/2 in cleartext, with prior knowledge
	AppGRPC AppProtocol = "grpc" // the same
	AppTCP  AppProtocol = "tcp"
)

// appProtocols is what the words mean to a cluster.
var appProtocols = map[AppProtocol]resource.Protocol{
	AppAuto: resource.ProtocolAuto, AppHTTP: resource.ProtocolHTTP1,
	AppH2C: resource.ProtocolHTTP2, AppGRPC: resource.ProtocolHTTP2, AppTCP: resource.ProtocolTCP,
}

// Config is everything that a sidecar is told at its start; the flags of
// cmd/sidecar have the same names.
type Config struct {
	Service     string // needed; names the instance in metrics, traces and the registry
	Namespace   string
	Instance    string // unique in the mesh; made up if empty
	ServicePort uint16 // the port that callers name; App's if 0
	Meshd       string // host:port of the control plane; empty: none
	Outbound    string // listener for the application's calls; empty: none
	Inbound     string // listener for calls to the application; empty: none, and no registration
	App         string // where the application listens
	Admin       string // loopback only; empty: none
	Advertise   string // host[:port] under which other sidecars reach Inbound; Inbound itself if empty
	Region      string
	Zone        string
	Weight      uint32
	StateDir    string // for the last good configuration; empty: none is kept
	Policy      OutboundPolicy
	Mark        uint32 // of upstream sockets, for redirection
	Drain       time.Duration
	MaxConns    int // per listener; 0: half of the file limit
	AppProtocol AppProtocol
	TCPListen   []string      // IP:PORT=SERVICE:PORT, listeners whose connections are calls to a service
	TCPIdle     time.Duration // ends opaque connections on which nothing moves; 0 is an hour
	MaxTCP      int           // opaque connections open at a time; 0: a quarter of the file limit
	// AccessLog is a file to which calls are written as lines of JSON, or - for
	// standard output; empty: none. AccessLogFilter is all, errors or kept, and
	// counts for OTEL_LOGS_EXPORTER as well.
	AccessLog       string
	AccessLogFilter string
	Version         string
	Logger          *slog.Logger
	LogLevel        http.Handler // answers for the Logger's level on the admin port; nil: nobody does
	Getenv          func(string) string
}

// validate fills in defaults and says everything that is wrong.
func (c *Config) validate() error {
	var errs []error
	bad := func(flag, value, accepted string) {
		errs = append(errs, fmt.Errorf("--%s %q: %s is accepted", flag, value, accepted))
	}
	if c.Service == "" {
		bad("service", "", "the name of the service that this instance belongs to")
	}
	if c.Namespace == "" {
		c.Namespace = "default"
	}
	if c.Policy == "" {
		c.Policy = Passthrough
	}
	if c.Policy != Passthrough && c.Policy != Deny {
		bad("outbound-policy", string(c.Policy), "passthrough or deny")
	}
	if c.Weight == 0 {
		c.Weight = 1
	}
	if c.Inbound != "" {
		app, err := netip.ParseAddrPort(c.App)
		if err != nil || app.Port() == 0 {
			bad("app", c.App, "the IP:PORT on which the application listens")
		} else if c.ServicePort == 0 {
			c.ServicePort = app.Port()
		}
	}
	if c.AppProtocol == "" {
		c.AppProtocol = AppAuto
	}
	if _, ok := appProtocols[c.AppProtocol]; !ok {
		bad("app-protocol", string(c.AppProtocol), "auto, http, h2c, grpc or tcp")
	}
	for _, l := range c.TCPListen {
		if _, err := parseTCPListen(l); err != nil {
			errs = append(errs, err)
		}
	}
	if c.TCPIdle < 0 {
		bad("tcp-idle-timeout", c.TCPIdle.String(), "a positive duration such as 1h")
	}
	if c.TCPIdle == 0 {
		c.TCPIdle = time.Hour
	}
	if c.MaxTCP < 0 {
		bad("max-tcp-connections", strconv.Itoa(c.MaxTCP), "a positive number, or 0 for the default,")
	}
	if c.MaxTCP == 0 {
		c.MaxTCP = defaultMaxTCP()
	}
	if c.AccessLogFilter == "" {
		c.AccessLogFilter = "all"
	}
	if _, ok := logFilters[c.AccessLogFilter]; !ok {
		bad("access-log-filter", c.AccessLogFilter, "all, errors or kept")
	}
	if c.Inbound == "" && c.Outbound == "" && len(c.TCPListen) == 0 {
		errs = append(errs, errors.New("--outbound, --inbound and --tcp-listen are all empty: nothing to do"))
	}
	if c.Admin != "" {
		a, err := netip.ParseAddrPort(c.Admin)
		if err != nil || !a.Addr().IsLoopback() {
			bad("admin", c.Admin, "a loopback IP:PORT")
		}
	}
	if c.Instance == "" {
		host, _ := os.Hostname()
		c.Instance = fmt.Sprintf("%s-%s-%d", c.Service, host, os.Getpid())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	return errors.Join(errs...)
}

// serviceName is the canonical name of this instance's service.
func (c *Config) serviceName() string {
	return c.Namespace + "/" + c.Service + ":" + strconv.Itoa(int(c.ServicePort))
}

// ownAuthority is this instance's service as others call it.
func (c *Config) ownAuthority() string {
	return c.Service + "." + c.Namespace + ":" + strconv.Itoa(int(c.ServicePort))
}

// instance is what meshd is told about us; inbound is the bound address.
func (c *Config) instance(inbound netip.AddrPort) (resource.Instance, error) {
	i := resource.Instance{
		Service: c.Service, Namespace: c.Namespace, ServicePort: c.ServicePort, Client: c.Instance,
		Weight: c.Weight, Region: c.Region, Zone: c.Zone,
		Admin: c.Admin, PID: os.Getpid(), Version: c.Version,
	}
	if c.Inbound == "" {
		return i, nil // a client only
	}
	i.ID = c.Instance
	addr, err := advertised(c.Advertise, inbound)
	i.Addr = addr
	return i, err
}

func advertised(flag string, inbound netip.AddrPort) (netip.AddrPort, error) {
	if flag != "" {
		if a, err := netip.ParseAddr(flag); err == nil {
			return netip.AddrPortFrom(a, inbound.Port()), nil
		}
		if a, err := netip.ParseAddrPort(flag); err == nil {
			return a, nil
		}
		return netip.AddrPort{}, fmt.Errorf("--advertise %q: an IP or IP:PORT is accepted", flag)
	}
	if !inbound.Addr().IsUnspecified() {
		return netip.AddrPortFrom(inbound.Addr().Unmap(), inbound.Port()), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--advertise is not given, and the interfaces cannot be listed: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return netip.AddrPortFrom(p.Addr().Unmap(), inbound.Port()), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("--inbound %s takes every address and this machine has none that others reach: give --advertise", inbound)
}
