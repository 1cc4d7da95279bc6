// Package attack lets hostile clients loose on a sidecar's ports: each attack
// runs for some seconds beside a client that means well, whose calls must go on
// as before, and may not make the sidecar grow. Where RFCs or what servers in
// the field do say that such a connection is ended, it must be.
package attack

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
