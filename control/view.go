package control

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
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

// A view is a State as xDS. It remembers what it made, and takes over from the
// view before it what is made of equal parts: most changes concern one service.
type view struct {
	state  *mesh.State
	secret []byte // of which the keys of sessions are made; empty: there are none

	mu       sync.Mutex // guards the rest; a newer view's is taken before an older one's
	prev     *view      // nil once a newer view is there
	backends map[mesh.ServiceKey]found
	made     map[cache.Key]made
}

type found struct {
	backend mesh.Backend
	ok      bool
}

// made is a resource and the service that it is of.
type made struct {
	service mesh.ServiceKey
	body    *anypb.Any
}

// newView is state's view; prev is the one before it, or nil.
func newView(state *mesh.State, prev *view) *view {
	if prev != nil {
		prev.mu.Lock()
		prev.prev = nil
		prev.mu.Unlock()
	}
	return &view{state: state, prev: prev, backends: map[mesh.ServiceKey]found{}, made: map[cache.Key]made{}}
}

// cache is v as the cache takes it.
func (v *view) cache() cache.View { return cache.View{Resource: v.resource, Names: v.names} }

func (v *view) resource(k cache.Key) *anypb.Any {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m, ok := v.made[k]; ok {
		return m.body
	}
	key, ok := v.service(k)
	if !ok {
		return nil
	}
	if old := v.before(k, key); old != nil {
		v.made[k] = made{key, old}
		return old
	}
	var body *anypb.Any
	if k.Type == resource.ListenerType {
		body = translate.Listener(k.Name, v.backend(key).backend)
	} else {
		body = producers[k.Type](v.backend(key).backend)
	}
	v.made[k] = made{key, body}
	return body
}

// service is the service that a resource is of, if there is one.
func (v *view) service(k cache.Key) (mesh.ServiceKey, bool) {
	if k.Type == resource.ListenerType {
		return v.state.Resolve(k.Name, k.Namespace)
	}
	key, ok := mesh.ParseServiceKey(k.Name)
	if !ok || producers[k.Type] == nil || key.String() != k.Name {
		return mesh.ServiceKey{}, false
	}
	return key, v.backend(key).ok
}

// backend is a port of a service, found once. v.mu is held.
func (v *view) backend(k mesh.ServiceKey) found {
	f, ok := v.backends[k]
	if !ok {
		f.backend, f.ok = v.state.Service(k)
		f.backend.SessionKey = v.sessionKey(k)
		v.backends[k] = f
	}
	return f
}

// sessionKey signs the cookies of a service's sessions: the same for all of its
// callers and in every meshd of a mesh, and of no use for another service's.
func (v *view) sessionKey(k mesh.ServiceKey) string {
	if len(v.secret) == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, v.secret)
	mac.Write([]byte("session " + k.String()))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// before is what the view before made of k, if it would be the same now.
// v.mu is held.
func (v *view) before(k cache.Key, key mesh.ServiceKey) *anypb.Any {
	if v.prev == nil {
		return nil
	}
	v.prev.mu.Lock()
	defer v.prev.mu.Unlock()
	m, ok := v.prev.made[k]
	if !ok || m.service != key {
		return nil
	}
	was, is := v.prev.backends[key].backend, v.backend(key).backend
	if slices.Equal(was.Endpoints, is.Endpoints) && reflect.DeepEqual(was.Policy, is.Policy) && reflect.DeepEqual(was.Routes, is.Routes) {
		return m.body
	}
	return nil
}

// names are all resources of a type, sorted: for Listeners one authority of
// each service, fully qualified.
func (v *view) names(typ string) []string {
	if producers[typ] == nil && typ != resource.ListenerType {
		return nil
	}
	var out []string
	for _, k := range v.state.Keys() {
		if typ == resource.ListenerType {
			out = append(out, fmt.Sprintf("%s.%s:%d", k.Name, k.Namespace, k.Port))
		} else {
			out = append(out, k.String())
		}
	}
	slices.Sort(out)
	return out
}
