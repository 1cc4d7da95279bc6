package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"text/template"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// conf are Envoy's configurations, which say why each of their fields is so.
//
//go:embed conf
var conf embed.FS

// An envoySpec is what a scenario has Envoy do beyond what all have.
type envoySpec struct {
	Timeout    string // of a call; 15s if empty
	PerTry     string // of an attempt; none if empty
	Hedge      bool   // the first attempt goes on when PerTry is over
	Retries    int    // 2 if 0
	BackOff    string // between attempts; 0.01s if empty
	MaxBackOff string // 0.25s if empty
	HashHeader string // maglev by it
	Cookie     string // sessions by it
	NoCheck    bool   // no active health checks
	SlowStart  bool   // not where all instances are new: the weights of young ones replace the choice of two
	NoOutlier  bool   // no outlier detection
	Budget     int    // percent of retries; 20 if 0
	MinRetries int    // min_retry_concurrency; 10 if 0
	Adaptive   bool   // of the inbound one: the adaptive concurrency filter
	MaxInbound int    // of the inbound one: requests at once of the default priority; 0: no such limit
}

// envoyPath is where make setup leaves it.
func envoyPath(root string) string { return filepath.Join(root, ".cache/envoy/bin/envoy") }

// envoys is Envoy beside the caller and, where the scenario wants it, beside
// each instance.
type envoys struct {
	s      *scope
	spec   meshSpec
	dir    string
	listen string
	all    []*backend // given to the caller
	each   map[*backend]*inboundEnvoy
	client *process.Process
}

// An inboundEnvoy is the one in front of an instance.
type inboundEnvoy struct {
	*process.Process
	listen string
}

func (s *scope) newEnvoys(spec meshSpec) *envoys {
	e := &envoys{s: s, spec: spec, dir: s.TempDir(), each: map[*backend]*inboundEnvoy{}}
	a := rig.Addrs(s, 2)
	e.listen = a[0]
	e.publish()
	d := spec.envoy
	for _, x := range []struct {
		v         *string
		otherwise string
	}{{&d.Timeout, "15s"}, {&d.BackOff, "0.01s"}, {&d.MaxBackOff, "0.25s"}} {
		if *x.v == "" {
			*x.v = x.otherwise
		}
	}
	for _, x := range []struct {
		v         *int
		otherwise int
	}{{&d.Retries, 2}, {&d.Budget, 20}, {&d.MinRetries, 10}} {
		if *x.v == 0 {
			*x.v = x.otherwise
		}
	}
	e.client = e.run("outbound", map[string]any{"Listen": e.listen, "Admin": a[1], "EDS": e.eds(), "Service": spec.service, "Spec": d})
	return e
}

// run starts an Envoy from a template of conf and waits until it serves.
func (e *envoys) run(name string, about map[string]any) *process.Process {
	t, err := template.New(name+".yaml").Funcs(template.FuncMap{"host": hostOf, "port": portOf,
		"routes": func() []string { return []string{"grpc", "unsafe", "others"} }}).ParseFS(conf, "conf/"+name+".yaml")
	e.s.must(err)
	var text bytes.Buffer
	e.s.must(t.Execute(&text, about))
	file := filepath.Join(e.dir, name+"-"+portOf(about["Listen"].(string))+".yaml")
	e.s.must(os.WriteFile(file, text.Bytes(), 0o600))
	p := process.Run(e.s, process.Spec{Name: "envoy " + name, Path: e.s.envoy, Args: []string{
		"-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"}})
	process.Await(e.s, rig.Patience, func() error {
		if p.Ended() {
			e.s.Fatalf("Envoy has ended: %s", &p.Out)
		}
		c, err := net.DialTimeout("tcp", about["Listen"].(string), time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	return p
}

func (e *envoys) eds() string { return filepath.Join(e.dir, "eds.json") }

// publish gives the caller's Envoy its endpoints: a file that is moved into
// place, which Envoy watches, as its documentation has it.
func (e *envoys) publish() {
	var eps []object
	for _, b := range e.all {
		to := b.addr
		if in := e.each[b]; in != nil {
			to = in.listen
		}
		host, port, err := net.SplitHostPort(to)
		e.s.must(err)
		eps = append(eps, object{"endpoint": object{"address": object{"socket_address": object{"address": host, "port_value": json.Number(port)}}}})
	}
	body, err := json.Marshal(object{"version_info": fmt.Sprint(time.Now().UnixNano()), "resources": []object{{
		"@type":        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
		"cluster_name": e.spec.service, "endpoints": []object{{"lb_endpoints": eps}}}}})
	e.s.must(err)
	e.s.must(os.WriteFile(e.eds()+".new", body, 0o600))
	e.s.must(os.Rename(e.eds()+".new", e.eds()))
}

func (e *envoys) addr() string { return e.listen }

func (e *envoys) add(b *backend, wait bool) {
	if e.spec.inbound {
		a := rig.Addrs(e.s, 2)
		e.each[b] = &inboundEnvoy{listen: a[0]}
		e.each[b].Process = e.run("inbound", map[string]any{"Listen": a[0], "Admin": a[1], "App": b.addr, "Spec": e.spec.envoy})
	}
	if !slices.Contains(e.all, b) {
		e.expect(b)
	}
}

// expect gives the caller an address at which nobody listens yet: as if
// somebody knew it in advance.
func (e *envoys) expect(b *backend) {
	e.all = append(e.all, b)
	e.publish()
}

// drain is the documented way: the endpoint leaves, and what it has under way
// ends.
func (e *envoys) drain(b *backend) {
	e.all = slices.DeleteFunc(e.all, func(x *backend) bool { return x == b })
	e.publish()
	pause(time.Second) // as long as a sidecar of ours takes calls yet
}

func (e *envoys) beside(b *backend) []*process.Process {
	if in := e.each[b]; in != nil {
		return []*process.Process{in.Process}
	}
	return nil
}

func (e *envoys) restart(*backend) {}

func (e *envoys) port(b *backend) string { return portOf(b.addr) }

func hostOf(addr string) string { h, _, _ := net.SplitHostPort(addr); return h }

func portOf(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
