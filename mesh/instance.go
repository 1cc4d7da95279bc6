package mesh

import (
	"fmt"
	"net/netip"
)

// An Instance is what a sidecar has registered of itself: one running process
// of a service. Its JSON is docs/reference/wire.md's, with the namespace
// beside it. It is comparable, so that a change is seen with ==.
type Instance struct {
	ID          string     `json:"id"` // unique in the mesh
	Namespace   string     `json:"namespace"`
	Service     string     `json:"service"`
	ServicePort uint16     `json:"servicePort"` // what callers name
	Address     netip.Addr `json:"address"`     // with Port: where callers' sidecars connect
	Port        uint16     `json:"port"`
	Weight      uint32     `json:"weight"`
	Region      string     `json:"region"`
	Zone        string     `json:"zone"`
	Ready       bool       `json:"ready"` // false: known, not given to callers
	Draining    bool       `json:"draining"`
	Admin       string     `json:"admin"` // host:port of the sidecar's admin listener
	PID         int        `json:"pid"`
	Version     string     `json:"version"` // of the sidecar
	// ReadySince is when Ready was last false, in ms since 1970: the
	// registry's to say. 0 is not known.
	ReadySince int64 `json:"readySince,omitempty"`
}

// Key is the port of the service that i serves.
func (i *Instance) Key() ServiceKey {
	return ServiceKey{Namespace: i.Namespace, Name: i.Service, Port: i.ServicePort}
}

// AddrPort is where callers' sidecars connect.
func (i *Instance) AddrPort() netip.AddrPort { return netip.AddrPortFrom(i.Address, i.Port) }

// Validate returns an error that names the first field that is not as it
// should be. What it accepts is fit for a State.
func (i *Instance) Validate() error {
	bad := func(field string, value any, accepted string) error {
		return fmt.Errorf("instance %q: %s: value %q: accepted is %s", clip(i.ID), field, clip(fmt.Sprint(value)), accepted)
	}
	switch {
	case !isName(i.ID):
		return bad("id", i.ID, nameForm)
	case !isLabel(i.Namespace):
		return bad("namespace", i.Namespace, labelForm)
	case !isLabel(i.Service):
		return bad("service", i.Service, labelForm)
	case i.ServicePort == 0:
		return bad("servicePort", i.ServicePort, "1 to 65535")
	case !reachable(i.Address):
		return bad("address", i.Address, "the IPv4 or IPv6 address of one host")
	case i.Port == 0:
		return bad("port", i.Port, "1 to 65535")
	case i.Weight < 1 || i.Weight > maxWeight:
		return bad("weight", i.Weight, fmt.Sprintf("1 to %d", maxWeight))
	case !isText(i.Region):
		return bad("region", i.Region, textForm)
	case !isText(i.Zone):
		return bad("zone", i.Zone, textForm)
	}
	return nil
}
