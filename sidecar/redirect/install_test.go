package redirect_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/sidecar/redirect"
	"golang.org/x/sys/unix"
)

// rules counts the rules by chain that are in force in the pod, with 0 for each table.
func (p pod) rules(t *testing.T) map[string]int {
	t.Helper()
	got := map[string]int{}
	err := p.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		if err != nil {
			return err
		}
		for _, tab := range tables {
			got[tab.Name] = 0
		}
		chains, err := c.ListChains()
		if err != nil {
			return err
		}
		for _, ch := range chains {
			rules, err := c.GetRules(ch.Table, ch)
			if err != nil {
				return err
			}
			got[ch.Table.Name+"/"+ch.Name] = len(rules)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestInstallReplacesAndRemoveRemoves(t *testing.T) {
	p := newPod(t)
	remove := func() {
		t.Helper()
		if err := p.Do(func() error { return redirect.Remove(redirect.Default()) }); err != nil {
			t.Fatal(err)
		}
		if got := p.rules(t); len(got) != 0 {
			t.Fatalf("after Remove: %v", got)
		}
	}
	remove() // nothing there is no error

	p.install(t, redirect.Default())
	once := p.rules(t)
	if once["meshd/outbound"] == 0 || once["meshd/inbound"] == 0 {
		t.Fatalf("after Install: %v", once)
	}
	p.install(t, redirect.Default())
	if twice := p.rules(t); fmt.Sprint(twice) != fmt.Sprint(once) {
		t.Errorf("installed twice: %v, once: %v", twice, once)
	}

	other := redirect.Default()
	other.OutboundPort, other.InboundPort = 0, 16006
	p.install(t, other)
	if got := call(t, p.peer, appUID, 0, "10.9.0.1:8080"); got != "inbound2 for 10.9.0.1:8080" {
		t.Errorf("inbound after other ports: %q", got)
	}
	if got := call(t, p.NS, appUID, 0, "10.9.0.2:9000"); got != "peer" {
		t.Errorf("outbound after it was switched off: %q", got)
	}

	remove()
	if got := call(t, p.peer, appUID, 0, "10.9.0.1:8080"); got != "app" {
		t.Errorf("inbound after Remove: %q", got)
	}
	remove()
}

// A connection that is opened while the rules are replaced must not get past them.
func TestReinstallLetsNothingEscape(t *testing.T) {
	p := newPod(t)
	p.install(t, redirect.Default())
	done := make(chan error, 1)
	go func() {
		done <- p.Do(func() error {
			for range 50 {
				if err := redirect.Install(redirect.Default()); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	for calls := 0; ; calls++ {
		if got := call(t, p.NS, appUID, 0, "10.9.0.2:9000"); got != "outbound for 10.9.0.2:9000" {
			t.Fatalf("call %d: %q", calls, got)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d calls during 50 installs", calls)
			return
		default:
		}
	}
}

// Connection tracking starts with the first rules; what is established by then must not be
// taken for new.
func TestEstablishedConnectionsSurviveInstall(t *testing.T) {
	p := newPod(t)
	for _, addr := range []string{"10.9.0.2:7000", "[fd09::2]:7000"} {
		var ln net.Listener
		if err := p.peer.Do(func() (err error) { ln, err = net.Listen("tcp", addr); return err }); err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		var out net.Conn
		if err := p.Do(func() (err error) { out, err = net.Dial("tcp", addr); return err }); err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		in, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		p.install(t, redirect.Default())
		for _, pair := range [][2]net.Conn{{out, in}, {in, out}} {
			pair[1].SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := pair[0].Write([]byte("still here")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(pair[1], make([]byte, 10)); err != nil {
				t.Fatalf("%s after Install: %v", addr, err)
			}
		}
		if err := p.Do(func() error { return redirect.Remove(redirect.Default()) }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLongestListsFitOneTransaction(t *testing.T) {
	p := newPod(t)
	c := redirect.Default()
	for i := range 128 {
		c.IncludeInboundPorts = append(c.IncludeInboundPorts, uint16(8000+i))
		c.ExcludeInboundPorts = append(c.ExcludeInboundPorts, uint16(20000+i))
		c.ExcludeOutboundPorts = append(c.ExcludeOutboundPorts, uint16(30000+i))
		c.ExcludeOutboundCIDRs = append(c.ExcludeOutboundCIDRs, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 1, 15: byte(i)}), 128))
	}
	p.install(t, c)
	if got := p.rules(t); got["meshd/inbound"] != 5+128+128 || got["meshd/outbound"] != 5+128+128 {
		t.Errorf("%v", got)
	}
	if got := call(t, p.peer, appUID, 0, "10.9.0.1:8081"); got != "inbound for 10.9.0.1:8081" {
		t.Errorf("last rules do not work: %q", got)
	}
}

// setCaps leaves this thread, which is thrown away afterwards, the given capabilities.
func setCaps(caps uint32) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: caps, Permitted: caps}}
	return unix.Capset(&hdr, &data[0])
}

func TestCapNetAdminIsEnough(t *testing.T) {
	p := newPod(t)
	err := p.Do(func() error {
		if err := setCaps(1 << unix.CAP_NET_ADMIN); err != nil {
			return err
		}
		if redirect.Marker(1) == nil {
			t.Error("Marker does not see that it may mark")
		}
		return redirect.Install(redirect.Default())
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.rules(t); got["meshd/outbound"] == 0 {
		t.Errorf("%v", got)
	}
}

func TestWithoutCapability(t *testing.T) {
	err := netns.New(t).Do(func() error {
		if err := setCaps(0); err != nil {
			return err
		}
		if redirect.Marker(1) != nil {
			t.Error("Marker does not see that it may not mark")
		}
		return redirect.Install(redirect.Default())
	})
	if err == nil {
		t.Fatal("installed without CAP_NET_ADMIN")
	}
	for _, w := range []string{"redirect: install table inet meshd", syscall.EPERM.Error(), "CAP_NET_ADMIN", "run it as root"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// Where the nft tool is, it is asked whether it reads the description and whether the
// kernel's rules read the same when they come from it.
func TestDescribeIsWhatIsInstalled(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("the nft tool is not here to compare with")
	}
	p := newPod(t)
	list := func() string {
		var out strings.Builder
		cmd := exec.Command("nft", "--stateless", "list", "ruleset")
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := p.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	c := redirect.Default()
	c.IncludeInboundPorts = []uint16{8080, 8443}
	c.ExcludeInboundPorts = []uint16{22}
	c.ExcludeOutboundPorts = []uint16{53, 5432}
	c.ExcludeOutboundCIDRs = []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("10.0.0.0/9"), netip.MustParsePrefix("fd00::/8")}
	p.install(t, c)
	installed := list()

	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(redirect.Describe(c)), os.Stderr
	if err := p.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("nft -f: %v\n%s", err, redirect.Describe(c))
	}
	if described := list(); described != installed {
		t.Errorf("installed:\n%s\ndescribed:\n%s", installed, described)
	}
}
