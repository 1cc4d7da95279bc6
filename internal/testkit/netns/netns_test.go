package netns_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshd/meshd/internal/testkit/netns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestVethCarriesBothFamilies(t *testing.T) {
	a, b := netns.New(t), netns.New(t)
	a.Veth(t, "eth0", b, "eth0")
	a.Addr(t, "eth0", "10.9.0.1/24")
	b.Addr(t, "eth0", "10.9.0.2/24")
	a.Addr(t, "eth0", "fd09::1/64")
	b.Addr(t, "eth0", "fd09::2/64")
	b.Addr(t, "lo", "10.10.0.1/32")
	a.Route(t, "10.10.0.0/16", "10.9.0.2", "eth0")

	for _, addr := range []string{"10.9.0.2:7000", "[fd09::2]:7000", "10.10.0.1:7000"} {
		t.Run(addr, func(t *testing.T) {
			var ln net.Listener
			if err := b.Do(func() (err error) { ln, err = net.Listen("tcp", addr); return err }); err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			err := a.Do(func() error {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("hello"))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
		})
	}
}

func TestNamespacesAreApart(t *testing.T) {
	a := netns.New(t)
	var ln net.Listener
	if err := a.Do(func() (err error) { ln, err = net.Listen("tcp", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		c.Close()
		t.Fatal("the test's own namespace reaches a loopback listener of another one")
	}
	if ifs, err := net.Interfaces(); err != nil || len(ifs) == 0 {
		t.Fatalf("interfaces outside: %v, %v", ifs, err)
	}
}

func TestCommandRunsInside(t *testing.T) {
	a := netns.New(t)
	a.Addr(t, "lo", "10.77.0.1/32")
	cmd := exec.Command("cat", "/proc/net/fib_trie")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := a.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "10.77.0.1") {
		t.Fatalf("the command saw another namespace:\n%s", out.String())
	}
}

func TestErrorsComeBack(t *testing.T) {
	want := errors.New("from inside")
	if err := netns.New(t).Do(func() error { return want }); !errors.Is(err, want) {
		t.Fatalf("got %v", err)
	}
}
