package sidecar

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := Config{Service: "checkout", Inbound: "127.0.0.1:15006", App: "127.0.0.1:8080", Admin: "127.0.0.1:0"}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // of the error; empty: none
	}{
		"good":              {func(*Config) {}, ""},
		"no service":        {func(c *Config) { c.Service = "" }, "--service"},
		"bad policy":        {func(c *Config) { c.Policy = "drop" }, "passthrough or deny is accepted"},
		"app is a name":     {func(c *Config) { c.App = "localhost:8080" }, "--app \"localhost:8080\""},
		"client only":       {func(c *Config) { c.Inbound, c.App, c.Outbound = "", "", "127.0.0.1:0" }, ""},
		"nothing to do":     {func(c *Config) { c.Inbound = "" }, "nothing to do"},
		"admin for all":     {func(c *Config) { c.Admin = "0.0.0.0:15000" }, "a loopback IP:PORT is accepted"},
		"bad protocol":      {func(c *Config) { c.AppProtocol = "smtp" }, "--app-protocol \"smtp\": auto, http, h2c, grpc or tcp is accepted"},
		"only TCP":          {func(c *Config) { c.Inbound, c.TCPListen = "", []string{"127.0.0.1:0=db:5432"} }, ""},
		"no service of TCP": {func(c *Config) { c.TCPListen = []string{"127.0.0.1:5432"} }, "IP:PORT=SERVICE:PORT is accepted"},
		"no port of TCP":    {func(c *Config) { c.TCPListen = []string{"127.0.0.1:5432=db"} }, "--tcp-listen \"127.0.0.1:5432=db\""},
		"port 0 of TCP":     {func(c *Config) { c.TCPListen = []string{"127.0.0.1:5432=db:0"} }, "--tcp-listen"},
		"bad filter":        {func(c *Config) { c.AccessLogFilter = "5xx" }, "--access-log-filter \"5xx\": all, errors or kept is accepted"},
		"negative bound":    {func(c *Config) { c.MaxTCP = -1 }, "--max-tcp-connections \"-1\""},
		"negative idle":     {func(c *Config) { c.TCPIdle = -1 }, "--tcp-idle-timeout"},
		"admin is empty":    {func(c *Config) { c.Admin = "" }, ""},
	} {
		cfg := good
		c.change(&cfg)
		err := cfg.validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := good.validate(); err != nil || good.ServicePort != 8080 || good.serviceName() != "default/checkout:8080" {
		t.Errorf("%v, %s", err, good.serviceName())
	}
}

func TestAdvertised(t *testing.T) {
	in := netip.MustParseAddrPort("127.0.0.1:15006")
	for flag, want := range map[string]string{
		"": "127.0.0.1:15006", "10.0.0.7": "10.0.0.7:15006", "10.0.0.7:99": "10.0.0.7:99", "fd00::1": "[fd00::1]:15006",
	} {
		if got, err := advertised(flag, in); err != nil || got.String() != want {
			t.Errorf("%q: %v %v, want %s", flag, got, err, want)
		}
	}
	if _, err := advertised("a.name", in); err == nil || !strings.Contains(err.Error(), "--advertise") {
		t.Errorf("a name: %v", err)
	}
}
