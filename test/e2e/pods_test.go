package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/sidecar/redirect"
	"github.com/meshd/meshd/test/rig"
)

// appUID is the user of applications in pods.
const appUID = 1000

// The virtual addresses of checkout, which nobody has; DNS would tell them.
const (
	virtual4 = "10.96.0.10"
	virtual6 = "fd96::10"
)

// A world is a network of pods, each a namespace, around a router that is the
// outside as well: meshd runs there, and what the mesh does not know.
type world struct {
	t      *testing.T
	router *netns.NS
	mesh   *mesh
	byUID  bool // how rules tell a sidecar: by its user, or else by its mark
	flags  []string
	pods   int
}

const (
	outside4 = "10.9.0.1"
	outside6 = "fd09::1"
)

func newWorld(t *testing.T, byUID bool, flags ...string) *world {
	t.Helper()
	w := &world{t: t, router: netns.New(t), byUID: byUID, flags: flags}
	noWaiting(t, w.router)
	w.router.Addr(t, "lo", outside4+"/32")
	w.router.Addr(t, "lo", outside6+"/128")
	w.router.Sysctl(t, "net/ipv4/ip_forward", "1")
	w.router.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	w.mesh = newMesh(t, w.router, outside4, inTurn)
	return w
}

// inTurn makes calls of checkout go to its instances in turn.
const inTurn = `
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: checkout}
spec:
  targetRefs: [{kind: Service, name: checkout}]
  balancer: round_robin
`

// noWaiting has links usable at once: until an interface's link-local address
// is known to be unique, its neighbours are not asked for.
func noWaiting(t *testing.T, ns *netns.NS) {
	t.Helper()
	ns.Sysctl(t, "net/ipv6/conf/all/accept_dad", "0")
	ns.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
}

// A pod is an application's namespace, with its sidecar and its rules.
type pod struct {
	*netns.NS
	w       *world
	addr4   string
	addr6   string
	sidecar *sidecar
	calls   atomic.Int64 // that its application got
}

// pod starts an application that answers with the instance's name, its sidecar
// and the rules. Its instance has the pod's IPv6 address if v6.
func (w *world) pod(service, instance string, v6 bool) *pod {
	w.t.Helper()
	p := w.network()
	// On all addresses, as applications in pods listen.
	serve(w.t, p.NS, "[::]:8080", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		fmt.Fprintf(rw, "%s host=%s", instance, r.Host)
	}))
	s := rig.Spec{Service: service, Instance: instance, App: "127.0.0.1:8080", Advertise: p.addr4, Flags: w.flags}
	if v6 {
		s.Advertise = p.addr6
	}
	p.join(s)
	return p
}

// network is a pod without an application.
func (w *world) network() *pod {
	w.t.Helper()
	w.pods++
	p := &pod{
		NS: netns.New(w.t), w: w,
		addr4: fmt.Sprintf("10.9.%d.2", w.pods), addr6: fmt.Sprintf("fd09:%d::2", w.pods),
	}
	noWaiting(w.t, p.NS)
	dev := "pod" + strconv.Itoa(w.pods)
	p.Veth(w.t, "eth0", w.router, dev)
	for _, a := range []string{p.addr4 + "/24", p.addr6 + "/64"} {
		gw := netip.MustParsePrefix(a).Addr().Prev().String()
		bits := netip.MustParsePrefix(a).Bits()
		p.Addr(w.t, "eth0", a)
		w.router.Addr(w.t, dev, fmt.Sprintf("%s/%d", gw, bits))
		all := "0.0.0.0/0"
		if bits == 64 {
			all = "::/0"
		}
		p.Route(w.t, all, gw, "eth0")
	}
	return p
}

// join starts the sidecar of a pod's application, and installs the rules.
func (p *pod) join(s rig.Spec) {
	p.w.t.Helper()
	s.NS = p.NS
	if p.w.byUID {
		// Without capabilities it cannot mark anything.
		s.UID = redirect.DefaultProxyUID
	}
	p.sidecar = p.w.mesh.sidecar(s)
	p.redirect("install")
	p.w.mesh.AwaitReady(s.Instance)
}

// redirect is the command of that name.
func (p *pod) redirect(verb string) {
	p.w.t.Helper()
	args := []string{"redirect", verb}
	switch {
	case verb != "install":
	case p.w.byUID:
		args = append(args, "--mark", "0")
	default:
		args = append(args, "--proxy-uid", "-1")
	}
	process.Output(p.w.t, process.Spec{Name: "sidecar", NS: p.NS, Path: process.Binary(p.w.t, "sidecar"), Args: args})
}

// app is a client of the pod's application, to which checkout has the given address.
func (p *pod) app(checkout string) *http.Client {
	return newClient(p.w.t, p.NS, appUID, map[string]string{"checkout": checkout})
}

// dial opens a connection of the pod's application.
func (p *pod) dial(addr string) net.Conn {
	p.w.t.Helper()
	c, err := dial(p.w.t.Context(), p.NS, appUID, nil, addr)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.w.t.Cleanup(func() { _ = c.Close() })
	return c
}
