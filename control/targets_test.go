package control

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
)

func TestTargets(t *testing.T) {
	instance := func(id, admin string, since int64) registry.Instance {
		return registry.Instance{Instance: mesh.Instance{ID: id, Namespace: "default", Service: "cart", Admin: admin}, Since: time.Unix(since, 0)}
	}
	for _, c := range []struct {
		what      string
		instances []registry.Instance
		clients   []clientStatus
		want      string
	}{
		{"nobody", nil, nil, `[]`},
		{"without an admin port", []registry.Instance{instance("cart-0", "", 1)}, []clientStatus{{ID: "envoy"}}, `[]`},
		{"one that only makes calls", []registry.Instance{instance("cart-0", "127.0.0.1:1", 1)}, []clientStatus{
			{ID: "cart.default/cart-0", Namespace: "default", Service: "cart", Admin: "127.0.0.1:1"},
			{ID: "gate.shop/gate-0", Namespace: "shop", Service: "gate", Admin: "127.0.0.1:2"},
		}, `[{"targets":["127.0.0.1:1"],"labels":{"instance":"cart-0","namespace":"default","service":"cart"}},` +
			`{"targets":["127.0.0.1:2"],"labels":{"instance":"gate-0","namespace":"shop","service":"gate"}}]`},
		{"two", []registry.Instance{instance("cart-1", "127.0.0.1:2", 1), instance("cart-0", "127.0.0.1:1", 2)}, nil,
			`[{"targets":["127.0.0.1:1"],"labels":{"instance":"cart-0","namespace":"default","service":"cart"}},` +
				`{"targets":["127.0.0.1:2"],"labels":{"instance":"cart-1","namespace":"default","service":"cart"}}]`},
		{"one begun again", []registry.Instance{instance("cart-old", "127.0.0.1:1", 1), instance("cart-new", "127.0.0.1:1", 2), instance("cart-older", "127.0.0.1:1", 0)}, nil,
			`[{"targets":["127.0.0.1:1"],"labels":{"instance":"cart-new","namespace":"default","service":"cart"}}]`},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, err := json.Marshal((&picture{instances: c.instances}).targets(c.clients))
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}
