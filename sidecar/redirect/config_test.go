package redirect

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatalf("Default: %v", err)
	}
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want []string
	}{
		{"zero", func(c *Config) { *c = Config{} }, []string{`table ""`, "must match"}},
		{"table", func(c *Config) { c.Table = "Bad-Name" }, []string{`table "Bad-Name"`, "must match"}},
		{"no ports", func(c *Config) { c.OutboundPort, c.InboundPort = 0, 0 }, []string{"outbound-port", "inbound-port", "1 to 65535"}},
		{"same ports", func(c *Config) { c.InboundPort = c.OutboundPort }, []string{"inbound-port 15001", "must differ"}},
		{"uid", func(c *Config) { c.ProxyUID = -2 }, []string{"proxy-uid -2", "-1 for none"}},
		{"uid too large", func(c *Config) { c.ProxyUID = 1<<32 - 1 }, []string{"proxy-uid 4294967295", "0 to 4294967294"}},
		{"loop", func(c *Config) { c.ProxyUID, c.Mark = NoUID, 0 }, []string{"proxy-uid is -1", "mark is 0", "at least one"}},
		{"port 0", func(c *Config) { c.ExcludeOutboundPorts = []uint16{22, 0} }, []string{"exclude-outbound-ports", "contains 0"}},
		{"both", func(c *Config) {
			c.IncludeInboundPorts, c.ExcludeInboundPorts = []uint16{80, 81}, []uint16{81}
		}, []string{"port 81", "include-inbound-ports", "exclude-inbound-ports"}},
		{"too many", func(c *Config) { c.IncludeInboundPorts = make([]uint16, 129) }, []string{"include-inbound-ports has 129", "at most 128"}},
		{"too many networks", func(c *Config) { c.ExcludeOutboundCIDRs = make([]netip.Prefix, 129) }, []string{"exclude-outbound-cidrs has 129"}},
		{"host bits", func(c *Config) {
			c.ExcludeOutboundCIDRs = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}
		}, []string{"exclude-outbound-cidrs", "10.1.2.3/8", "write 10.0.0.0/8"}},
		{"mapped", func(c *Config) {
			c.ExcludeOutboundCIDRs = []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 128)}
		}, []string{"exclude-outbound-cidrs", "write it as IPv4"}},
		{"no prefix", func(c *Config) { c.ExcludeOutboundCIDRs = make([]netip.Prefix, 1) }, []string{"exclude-outbound-cidrs", "10.0.0.0/8"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Default()
			tc.edit(&c)
			err := c.Validate()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if ierr := Install(c); ierr == nil || ierr.Error() != err.Error() {
				t.Errorf("Install: %v; want %v", ierr, err)
			}
		})
	}
}

func everything() Config {
	c := Default()
	c.IncludeInboundPorts = []uint16{8080, 8443}
	c.ExcludeInboundPorts = []uint16{22}
	c.ExcludeOutboundPorts = []uint16{53, 5432}
	c.ExcludeOutboundCIDRs = []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fd00::/8")}
	return c
}

func TestDescribe(t *testing.T) {
	outboundOnly := Default()
	outboundOnly.Table, outboundOnly.InboundPort, outboundOnly.ProxyUID = "mesh_out", 0, NoUID
	for name, c := range map[string]Config{"default": Default(), "everything": everything(), "outbound": outboundOnly} {
		path, got := filepath.Join("testdata", name+".nft"), Describe(c)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (-update rewrites it):\n%s", path, got)
		}
	}
}

func TestFlags(t *testing.T) {
	c := Default()
	fs := pflag.NewFlagSet("install", pflag.ContinueOnError)
	BindFlags(fs, &c)
	err := fs.Parse([]string{
		"--outbound-port", "16001", "--inbound-port=16006", "--proxy-uid", "-1", "--mark=0x20", "--table", "t",
		"--include-inbound-ports", "80, 81", "--include-inbound-ports=82", "--exclude-inbound-ports=22",
		"--exclude-outbound-ports=53", "--exclude-outbound-cidrs", "10.0.0.0/8,fd00::1",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.OutboundPort != 16001 || c.InboundPort != 16006 || c.ProxyUID != NoUID || c.Mark != 0x20 || c.Table != "t" {
		t.Errorf("%+v", c)
	}
	for name, want := range map[string]string{
		"include-inbound-ports": "80,81,82", "exclude-inbound-ports": "22",
		"exclude-outbound-ports": "53", "exclude-outbound-cidrs": "10.0.0.0/8,fd00::1/128",
	} {
		if got := fs.Lookup(name).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
	for flag, value := range map[string]string{
		"include-inbound-ports": "http", "exclude-outbound-ports": "0", "exclude-inbound-ports": "",
		"exclude-outbound-cidrs": "10.0.0.0/33", "inbound-port": "65536",
	} {
		err := fs.Parse([]string{"--" + flag + "=" + value})
		if err == nil || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), value) {
			t.Errorf("--%s=%s: error %v", flag, value, err)
		}
	}
}
