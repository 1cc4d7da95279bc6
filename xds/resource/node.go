package resource

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// DefaultNamespace is where names without a namespace are looked up.
const DefaultNamespace = "default"

// A Node is what DecodeInstance needs of *envoy.config.core.v3.Node, which
// implements it; the sidecar has no need of that package.
type Node interface {
	GetId() string
	GetCluster() string
	GetMetadata() *structpb.Struct
}

// Registers says whether the instance is to be registered: one without an ID
// belongs to a client that only asks.
func (i Instance) Registers() bool { return i.ID != "" }

// NodeID is node.id: SERVICE.NAMESPACE/INSTANCE, the latter being Client's name
// where no instance is registered.
func (i Instance) NodeID() string {
	ns := i.Namespace
	if ns == "" {
		ns = DefaultNamespace
	}
	return i.Service + "." + ns + "/" + cmp.Or(i.ID, i.Client)
}

// Metadata is node.metadata, with the field names of docs/reference/wire.md.
func (i Instance) Metadata() *structpb.Struct {
	f := map[string]*structpb.Value{}
	if i.Namespace != "" {
		f["namespace"] = structpb.NewStringValue(i.Namespace)
	}
	if !i.Registers() {
		f["client"] = object(map[string]*structpb.Value{
			"admin":   structpb.NewStringValue(i.Admin),
			"version": structpb.NewStringValue(i.Version),
		})
	} else {
		f["instance"] = object(map[string]*structpb.Value{
			"id":          structpb.NewStringValue(i.ID),
			"service":     structpb.NewStringValue(i.Service),
			"servicePort": structpb.NewNumberValue(float64(i.ServicePort)),
			"address":     structpb.NewStringValue(i.Addr.Addr().String()),
			"port":        structpb.NewNumberValue(float64(i.Addr.Port())),
			"weight":      structpb.NewNumberValue(float64(i.Weight)),
			"region":      structpb.NewStringValue(i.Region),
			"zone":        structpb.NewStringValue(i.Zone),
			"ready":       structpb.NewBoolValue(i.Ready),
			"draining":    structpb.NewBoolValue(i.Draining),
			"admin":       structpb.NewStringValue(i.Admin),
			"pid":         structpb.NewNumberValue(float64(i.PID)),
			"version":     structpb.NewStringValue(i.Version),
		})
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{MetadataKey: object(f)}}
}

func object(f map[string]*structpb.Value) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: f})
}

// DecodeInstance reads what a client says of itself: its namespace
// (DefaultNamespace if it names none) and service (node.cluster), where its
// sidecar is to be asked, and, where Registers is true of the result, the instance
// to register. A node without our metadata, such as Envoy's or gRPC's, is a client only.
func DecodeInstance(n Node) (Instance, error) {
	i := Instance{Namespace: DefaultNamespace, Service: n.GetCluster()}
	v, ok := n.GetMetadata().GetFields()[MetadataKey]
	if !ok {
		return i, nil
	}
	d := &dict{fields: v.GetStructValue().GetFields()}
	d.text("namespace", &i.Namespace)
	d.object("client", func(d *dict) {
		d.admin(&i.Admin)
		d.text("version", &i.Version)
	})
	d.object("instance", i.decode)
	if err := d.done(); err != nil {
		return Instance{}, fmt.Errorf("node %q: %w", n.GetId(), in("metadata["+MetadataKey+"]", err))
	}
	if i.Namespace == "" {
		i.Namespace = DefaultNamespace
	}
	return i, nil
}

// decode reads metadata["meshd.io"].instance.
func (i *Instance) decode(d *dict) {
	var addr string
	var servicePort, port, pid uint32
	i.Service, i.Weight = "", 1
	d.text("id", &i.ID)
	d.text("service", &i.Service)
	d.integer("servicePort", &servicePort, 65535)
	d.text("address", &addr)
	d.integer("port", &port, 65535)
	d.integer("weight", &i.Weight, 1<<20)
	d.text("region", &i.Region)
	d.text("zone", &i.Zone)
	d.boolean("ready", &i.Ready)
	d.boolean("draining", &i.Draining)
	d.admin(&i.Admin)
	d.integer("pid", &pid, 1<<31-1)
	d.text("version", &i.Version)
	if d.err != nil {
		return
	}
	ip, err := netip.ParseAddr(addr)
	switch {
	case i.ID == "":
		d.err = in("id", errMissing)
	case i.Service == "":
		d.err = in("service", errMissing)
	case servicePort == 0:
		d.err = in("servicePort", fmt.Errorf("0 is not valid, want 1..65535"))
	case err != nil || ip.IsUnspecified() || ip.Zone() != "":
		d.err = in("address", fmt.Errorf("%q is not valid, want an IP address that others can connect to", addr))
	case port == 0:
		d.err = in("port", fmt.Errorf("0 is not valid, want 1..65535"))
	}
	if i.Weight == 0 {
		i.Weight = 1
	}
	i.ServicePort, i.PID = uint16(servicePort), int(pid)
	i.Addr = netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

// maxAdmin is the longest HOST:PORT, a name in DNS having 253 bytes.
const maxAdmin = 253 + len(":65535")

// admin reads the address of a sidecar's admin port. It comes from a peer, is
// shown to people and asked by their tools, and so is nothing but an address.
func (d *dict) admin(to *string) {
	var s string
	d.text("admin", &s)
	if s == "" || d.err != nil {
		return
	}
	host, port, err := net.SplitHostPort(s)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || len(s) > maxAdmin || !isHost(host) {
		d.err = in("admin", fmt.Errorf("%.80q is not valid, want HOST:PORT", s))
		return
	}
	*to = s
}

func isHost(s string) bool {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Zone() == ""
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}
