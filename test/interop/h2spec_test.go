package interop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
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
	// It speaks nothing else: what is no HTTP/2 goes to it as it is, and one of
	// the cases is that.
	app := rig.Serve(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		// The second frame of a case is to come while its stream is open.
		moment := time.NewTimer(5 * time.Millisecond)
		defer moment.Stop()
		<-moment.C
		fmt.Fprint(w, strings.Repeat("a line of the answer\n", 200))
	}))
	// h2spec's calls name what it connects to, "localhost:PORT": that is the
	// name of the service, so that the outbound port sends them there.
	outbound := rig.Addrs(t, 1)[0]
	_, port, _ := net.SplitHostPort(outbound)
	// The inbound port would hand what is no HTTP at all, as in one of the
	// cases, to the application, did it not know what that speaks.
	server := m.Sidecar(t, rig.Spec{Service: "localhost", Port: port, App: app, Flags: []string{"--app-protocol", "h2c"}})
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

// cases is how many h2spec 2.2.1 has, one for the strict among them.
const cases = 146

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

// walk calls f for every case, those for the strict included.
func walk(g *spec.TestGroup, f func(id string, tc *spec.TestCase)) {
	for i, tc := range slices.Concat(g.Tests, g.StrictTests) {
		f(fmt.Sprintf("%s/%d", g.ID(), i+1), tc)
	}
	for _, sub := range g.Groups {
		walk(sub, f)
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
