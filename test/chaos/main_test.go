// Package chaos runs the real programs (bin/meshd, bin/sidecar, bin/meshctl)
// as processes under load, kills, restarts, scales and burdens them, and looks
// at what callers see of it: nothing.
package chaos

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// roleEnv makes this binary one of the programs that the tests need beside
// the mesh's own.
const roleEnv = "CHAOS_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleEnv); role {
	case "":
		goleak.VerifyTestMain(m)
		return
	case "app":
		err = app()
	case "crowd":
		err = crowd()
	default:
		err = fmt.Errorf("%s=%q: want app or crowd", roleEnv, role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
