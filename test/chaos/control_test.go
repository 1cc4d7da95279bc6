package chaos

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

// TestLoseMeshd: the control plane ends, in one way or another, stays away for
// longer than the instances' leases, and comes back. Callers notice nothing,
// those that open a new connection for each call included.
func TestLoseMeshd(t *testing.T) {
	for _, end := range []struct {
		what string
		lose func(*rig)
	}{
		{"killed", func(r *rig) { r.meshd.Kill() }},
		{"stopped", func(r *rig) { r.meshd.Terminate(r.t, patience) }},
		{"killed, its data lost", func(r *rig) {
			r.meshd.Kill()
			if err := os.RemoveAll(r.data()); err != nil {
				r.t.Fatal(err)
			}
		}},
	} {
		t.Run(end.what, func(t *testing.T) {
			r := newRig(t, "--lease-ttl", "2s")
			r.run(3)
			r.awaitReady(3)
			c := r.client()
			c.awaitEndpoints(3)
			seen := c.watch()
			kept := c.load(1000).start(t)
			l := c.load(300)
			l.fresh = true
			fresh := l.start(t)

			kept.forSeconds(0.5)
			end.lose(r)
			kept.forSeconds(2.5)
			t.Logf("meshd is away for 2.5 s, with leases of 2 s: %d and %d calls failed", kept.failures(), fresh.failures())

			from := time.Now()
			r.startMeshd()
			r.awaitReady(3)
			t.Logf("meshd is back, with all instances, %v after its start", time.Since(from).Round(time.Millisecond))
			kept.forSeconds(2.5) // the leases of before would have ended by now
			r.awaitReady(3)
			kept.clean("kept connections")
			fresh.clean("a connection a call")
			if n := seen(); len(n) != 1 || n[0] != 3 {
				t.Errorf("the client knew %v endpoints in the course of time, want 3 all the time", n)
			}
		})
	}
}

// TestRestartWithoutMeshd: a caller's sidecar that starts while meshd is away
// goes on from what it kept.
func TestRestartWithoutMeshd(t *testing.T) {
	r := newRig(t)
	r.run(2)
	r.awaitReady(2)
	state := filepath.Join(r.dir, "client")
	c := r.client("--state-dir", state)
	c.awaitEndpoints(2)
	process.Await(t, patience, func() error { // it is written a moment after the change
		var kept []byte
		err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "xds-state" {
				return err // what is still being written has another name
			}
			b, err := os.ReadFile(path)
			kept = append(kept, b...)
			return err
		})
		for i := range 2 {
			if name := fmt.Sprintf("%s-%d", service, i); err == nil && !bytes.Contains(kept, []byte(name)) {
				err = fmt.Errorf("%s is not kept yet", name)
			}
		}
		return err
	})
	r.meshd.Kill()
	c.Kill()
	from := time.Now()
	c.start()
	t.Logf("first answer %v after the start, without meshd", time.Since(from).Round(time.Millisecond))
	c.awaitEndpoints(2)
	calls := c.load(500).start(t)
	calls.forSeconds(1)
	r.startMeshd()
	r.awaitReady(2)
	calls.forSeconds(1)
	o := calls.clean("a sidecar started without meshd")
	if len(o.instances) != 2 {
		t.Errorf("%v answered, want both instances", o.instances)
	}
}
