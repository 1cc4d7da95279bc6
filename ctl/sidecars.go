package ctl

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

const (
	// sidecarTimeout bounds the wait for one sidecar.
	sidecarTimeout = 2 * time.Second
	// sidecarsAtOnce are asked at a time.
	sidecarsAtOnce = 32
)

var errNoSidecar = errors.New("no sidecar can be reached: admin ports listen on loopback, of another machine or pod too; there, " +
	"`kubectl port-forward POD 15000` or `ssh -L 15000:127.0.0.1:15000 HOST` and then --sidecar 127.0.0.1:15000, " +
	"or `kubectl exec POD -- meshctl why ... --sidecar 127.0.0.1:15000`")

// A sidecarAt is a sidecar that meshd knows by an instance of it, or by its
// stream where it only makes calls.
type sidecarAt struct {
	addr     string // of its admin port
	service  string // without the default namespace
	instance string
	ready    bool // to take calls, as meshd has it
}

// sidecarsOf are those of a service; of all, if it is empty. Each admin address
// is there once.
func sidecarsOf(status api.Status, service string) (out []sidecarAt) {
	for _, s := range status.Services {
		for _, i := range s.Instances {
			if i.Admin != "" && (service == "" || isService(s, service)) {
				out = append(out, sidecarAt{i.Admin, show.Name(s.Namespace, s.Name), i.ID, i.Ready && !i.Draining})
			}
		}
	}
	for _, x := range status.Clients {
		if x.Admin != "" && (service == "" || isService(api.Service{Namespace: x.Namespace, Name: x.Service}, service)) {
			_, instance, _ := strings.Cut(x.ID, "/")
			out = append(out, sidecarAt{x.Admin, show.Name(x.Namespace, x.Service), instance, true})
		}
	}
	slices.SortStableFunc(out, func(x, y sidecarAt) int { return strings.Compare(x.addr, y.addr) })
	return slices.CompactFunc(out, func(x, y sidecarAt) bool { return x.addr == y.addr })
}

// isService reports whether a name, that may leave out namespace and port, is s's.
func isService(s api.Service, asked string) bool {
	namespace, name, port := splitService(asked)
	return s.Name == name && (namespace == "" || s.Namespace == namespace) && (port == "" || port == strconv.Itoa(s.Port))
}

// splitService takes NAMESPACE/NAME:PORT apart, of which only the name has to
// be there.
func splitService(s string) (namespace, name, port string) {
	if before, after, ok := strings.Cut(s, "/"); ok {
		namespace, s = before, after
	}
	name, port, _ = strings.Cut(s, ":")
	return namespace, name, port
}

// eachSidecar calls ask for every sidecar, several at once, each within
// sidecarTimeout. The errors are in the order of the sidecars.
func eachSidecar(ctx context.Context, of []sidecarAt, ask func(ctx context.Context, i int, s sidecarAt) error) []error {
	errs := make([]error, len(of))
	var work sync.WaitGroup
	places := make(chan struct{}, sidecarsAtOnce)
	for i, s := range of {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(ctx, sidecarTimeout)
			defer cancel()
			errs[i] = ask(ctx, i, s)
		})
	}
	work.Wait()
	return errs
}
