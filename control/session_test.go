package control

import (
	"testing"
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// The keys of sessions are those of a mesh and of one service; without a secret
// there are no sessions.
func TestSessionKeys(t *testing.T) {
	objects, errs := mesh.Parse("", []byte(`
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 80}]}}
---
{apiVersion: meshd.io/v1alpha1, kind: TrafficPolicy, metadata: {name: p}, spec: {
  targetRefs: [{kind: Service, name: a}, {kind: Service, name: b}], session: {cookie: s}}}
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	state := mesh.Build(nil, time.Now(), objects, nil)
	session := func(secret, service string) resource.Session {
		v := newView(state, nil)
		v.secret = []byte(secret)
		rc, err := resource.DecodeRouteConfig(v.resource(cache.Key{Type: resource.RouteType, Name: service}))
		if err != nil {
			t.Fatal(err)
		}
		return rc.VirtualHosts[0].Routes[0].Session
	}
	a := session("one", "default/a:80")
	switch {
	case a.Cookie != "s" || len(a.Key) < 40:
		t.Errorf("got %+v", a)
	case session("one", "default/a:80") != a:
		t.Error("another meshd of the mesh has another key")
	case session("two", "default/a:80").Key == a.Key:
		t.Error("another mesh has the same key")
	case session("one", "default/b:80").Key == a.Key:
		t.Error("another service has the same key")
	case session("", "default/a:80") != (resource.Session{}):
		t.Error("there are sessions without a secret")
	}
}
