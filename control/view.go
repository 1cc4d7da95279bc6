package control

import (
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
	"github.com/meshd/meshd/xds/translate"
)

// producers make a resource of each type from a service; Listeners, whose
// names are authorities, are apart.
var producers = map[string]func(mesh.Backend) *anypb.Any{
	resource.ClusterType:   translate.Cluster,
	resource.EndpointsType: translate.Endpoints,
	resource.RouteType:     translate.Route,
}

// view is a State as xDS. A service has up to three resources that are made
// of the same Backend, so Backends are remembered.
func view(state *mesh.State) cache.View {
	type found struct {
		backend mesh.Backend
		ok      bool
	}
	var (
		mu       sync.Mutex
		backends = map[mesh.ServiceKey]found{}
	)
	backend := func(k mesh.ServiceKey) (mesh.Backend, bool) {
		mu.Lock()
		defer mu.Unlock()
		f, ok := backends[k]
		if !ok {
			f.backend, f.ok = state.Service(k)
			backends[k] = f
		}
		return f.backend, f.ok
	}
	return cache.View{
		Resource: func(k cache.Key) *anypb.Any {
			if k.Type == resource.ListenerType {
				if key, ok := state.Resolve(k.Name, k.Namespace); ok {
					return translate.Listener(k.Name, key)
				}
				return nil
			}
			produce := producers[k.Type]
			key, ok := mesh.ParseServiceKey(k.Name)
			if produce == nil || !ok || key.String() != k.Name {
				return nil
			}
			if b, ok := backend(key); ok {
				return produce(b)
			}
			return nil
		},
		Names: func(typ string) []string { return names(state, typ) },
	}
}

// names are all resources of a type, sorted: for Listeners one authority of
// each service, fully qualified.
func names(state *mesh.State, typ string) []string {
	if producers[typ] == nil && typ != resource.ListenerType {
		return nil
	}
	var out []string
	for _, k := range state.Keys() {
		if typ == resource.ListenerType {
			out = append(out, fmt.Sprintf("%s.%s:%d", k.Name, k.Namespace, k.Port))
		} else {
			out = append(out, k.String())
		}
	}
	slices.Sort(out)
	return out
}
