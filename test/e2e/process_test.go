package e2e

import (
	"os"
	"testing"

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/process"
)

// A program is what start runs.
type program struct {
	name string
	ns   *netns.NS // nil: where the test itself runs
	uid  int       // 0: the test's own
	env  []string  // all that there is, beside PATH
	path string
	args []string
}

func (p program) spec() process.Spec {
	return process.Spec{
		Name: p.name, NS: p.ns, UID: p.uid, Path: p.path, Args: p.args,
		Env: append([]string{"PATH=" + os.Getenv("PATH")}, p.env...),
	}
}

// start runs a program; the test's end kills it, and tells what it wrote last
// if the test failed.
func start(t *testing.T, p program) *process.Process {
	t.Helper()
	return process.Run(t, p.spec())
}

// output runs a program to its end and returns what it wrote.
func output(t *testing.T, p program) string {
	t.Helper()
	return process.Output(t, p.spec())
}
