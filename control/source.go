package control

import (
	"context"
	"log/slog"
	"sync"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/discovery"
)

// objects keeps what a Source gave last, for the assembler to fetch.
type objects struct {
	log     *slog.Logger
	changed chan struct{} // holds a token after a change

	mu   sync.Mutex
	last []mesh.Object
	told map[string]bool // errors that are in the log
}

// follow starts src and returns once it has given its objects, with a channel
// that is closed when src has ended after ctx did.
func follow(ctx context.Context, src discovery.Source, log *slog.Logger) (*objects, <-chan struct{}, error) {
	o := &objects{log: log, changed: make(chan struct{}, 1), told: map[string]bool{}}
	first := make(chan struct{})
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		once := sync.OnceFunc(func() { close(first) })
		err = src.Run(ctx, func(objects []mesh.Object, errs []error) {
			o.set(objects, errs)
			once()
		})
	}()
	select {
	case <-first:
		return o, ended, nil
	case <-ended:
		if err == nil {
			err = ctx.Err()
		}
		return nil, ended, err
	}
}

func (o *objects) set(objects []mesh.Object, errs []error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := make(map[string]bool, len(errs))
	for _, err := range errs {
		now[err.Error()] = true
		if !o.told[err.Error()] {
			o.log.Warn("configuration refused; what was good before stays", "error", err, "next", "change the file where the error says")
		}
	}
	if len(now) == 0 && len(o.told) > 0 {
		o.log.Info("configuration is good again")
	}
	o.told, o.last = now, objects
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// get returns the objects that are good at the moment.
func (o *objects) get() []mesh.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
