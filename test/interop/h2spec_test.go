package interop

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// TestH2Spec: every case of h2spec holds at both of a sidecar's ports.
func TestH2Spec(t *testing.T) {
	m := rig.New(t)
	app := rig.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("a line of the answer\n", 200))
	}))
	// h2spec's calls name what it connects to, "localhost:PORT": that is the
	// name of the service, so that the outbound port sends them there.
	outbound := rig.Addrs(t, 1)[0]
	_, port, _ := net.SplitHostPort(outbound)
	server := m.Sidecar(t, rig.Spec{Service: "localhost", Port: port, App: app})
	m.AwaitReady("localhost")
	client := m.Sidecar(t, rig.Spec{Service: "caller", Outbound: outbound})

	for name, addr := range map[string]string{"outbound": client.Outbound, "inbound": server.Inbound} {
		t.Run(name, func(t *testing.T) {
			h2spec(t, addr)
			for _, s := range []*rig.Sidecar{client, server} {
				if s.Ended() {
					t.Errorf("%s has ended", s.Name)
				}
			}
		})
	}
}

// cases is how many h2spec 2.2.1 has that servers are held to.
const cases = 145

// h2spec runs all cases against a port, each as a test of its own.
func h2spec(t *testing.T, addr string) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{Host: "localhost", Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000}
	process.Await(t, rig.Patience, func() error {
		n, err := spec.ServerDataLength(c)
		if err == nil && n == 0 {
			err = errors.New("an answer without a body")
		}
		return err
	})
	var run, passed int
	for _, root := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		walk(root, func(id string, tc *spec.TestCase) {
			run++
			ok := t.Run(id, func(t *testing.T) { judge(t, c, tc) })
			if ok {
				passed++
			}
		})
	}
	t.Logf("h2spec: %d of %d cases passed", passed, run)
	if run != cases {
		t.Errorf("%d cases were run, want %d", run, cases)
	}
}

// walk calls f for every case that is not only for the strict.
func walk(g *spec.TestGroup, f func(id string, tc *spec.TestCase)) {
	for i, tc := range g.Tests {
		f(fmt.Sprintf("%s/%d", g.ID(), i+1), tc)
	}
	for _, sub := range g.Groups {
		if !sub.Strict {
			walk(sub, f)
		}
	}
}

func judge(t *testing.T, c *config.Config, tc *spec.TestCase) {
	conn, err := spec.Dial(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = tc.Run(c, conn)
	var failed *spec.TestError
	switch {
	case err == nil:
	case errors.Is(err, spec.ErrSkipped):
		t.Errorf("%s. %s: skipped", tc.Parent.Title(), tc.Desc)
	case errors.As(err, &failed):
		t.Errorf("%s. %s\n%s\nwant: %s\n got: %s", tc.Parent.Title(), tc.Desc, tc.Requirement,
			strings.Join(failed.Expected, "\n  or: "), failed.Actual)
	default:
		t.Errorf("%s. %s: %v", tc.Parent.Title(), tc.Desc, err)
	}
}
