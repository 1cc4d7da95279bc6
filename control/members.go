package control

import (
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/xds/resource"
	"github.com/meshd/meshd/xds/server"
)

// reconnectGrace is how long an instance stays known after its stream broke.
// It is for a connection that is made again at once; together with the push to
// callers it stays well under the second that docs/reference/wire.md promises.
const reconnectGrace = 300 * time.Millisecond

// members registers the instances whose sidecars are connected here.
func members(reg *registry.Registry) server.Hooks {
	return server.Hooks{Join: func(in resource.Instance) (server.Member, error) {
		g, err := reg.Register(registry.Instance{Instance: instance(in)})
		if err != nil {
			return server.Member{}, err
		}
		draining := in.Draining
		return server.Member{
			Update: func(in resource.Instance) error {
				draining = in.Draining
				return g.Update(registry.Instance{Instance: instance(in)})
			},
			Gone: func() {
				if draining { // it said that it would go
					g.Release(0)
				} else {
					g.Release(reconnectGrace)
				}
			},
		}, nil
	}}
}

// instance is a node's account of itself in the model's words.
func instance(in resource.Instance) mesh.Instance {
	return mesh.Instance{
		ID: in.ID, Namespace: in.Namespace, Service: in.Service, ServicePort: in.ServicePort,
		Address: in.Addr.Addr(), Port: in.Addr.Port(), Weight: in.Weight,
		Region: in.Region, Zone: in.Zone, Ready: in.Ready, Draining: in.Draining,
		Admin: in.Admin, PID: in.PID, Version: in.Version,
	}
}
