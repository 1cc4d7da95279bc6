// Package discovery brings the mesh's objects from where they are kept.
package discovery

import (
	"context"

	"github.com/meshd/meshd/mesh"
)

// A Source is a place that objects come from.
type Source interface {
	// Run calls update with all objects of the source, once soon after it was
	// called and again whenever they change, and with everything that is
	// wrong at the time. It calls it from one goroutine and waits for it; what
	// it gives may be kept and must not be changed. Run returns nil when ctx
	// ends, and an error when it cannot begin.
	Run(ctx context.Context, update func(objects []mesh.Object, errs []error)) error
}
