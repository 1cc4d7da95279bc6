// Package interop holds the mesh against what others wrote: conformance suites
// and clients that know nothing of it.
package interop

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// caseEnv makes this binary gRPC's interop client, for one case against the
// target of targetEnv.
const (
	caseEnv   = "INTEROP_CASE"
	targetEnv = "INTEROP_TARGET"
)

func TestMain(m *testing.M) {
	name := os.Getenv(caseEnv)
	if name == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := client(name, os.Getenv(targetEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
