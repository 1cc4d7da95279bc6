// Package e2e runs the real programs (bin/meshd, bin/sidecar) as processes, on
// loopback and in network namespaces of its own, and looks at them from
// outside: what applications, callers, backends of telemetry and people see.
package e2e

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is for what is only waited for, not measured.
const patience = 15 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
