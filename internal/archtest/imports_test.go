package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A rule says which of our packages a room may import, besides itself. The
// rule of the longest room that holds a package is the one that counts.
type rule struct {
	room string
	may  []string
	why  string
}

var rules = []rule{
	{"mesh", nil, "the model is plain Go: everything may depend on it, it on nothing"},
	{"breaker", nil, "a breaker is a leaf with an injected clock"},
	{"tracing", []string{"internal/swift"}, "a leaf: propagation, sampling and export know no room"},
	{"supervise", nil, "processes as a tree; what runs in them is somebody else's"},
	{"telemetry", nil, "stores what is reported; who reports and who looks is outside"},

	{"xds/resource", nil, "both ends of the wire share it"},
	{"xds/cache", nil, "versioned resources, whoever made them"},
	{"xds/client", []string{"xds/resource"}, "it is part of the sidecar, which stays small"},
	{"xds/server", []string{"xds/cache", "xds/resource"}, "streams know no platform"},
	{"xds/translate", []string{"mesh", "xds/resource"}, "a pure function of the model"},
	{"xds/discovery", []string{"mesh"}, "a source yields the model and knows nobody who uses it"},
	{"registry", []string{"internal/wait", "mesh"}, "a source yields the model and knows nobody who uses it"},
	{"kube", []string{"mesh"}, "a source yields the model and knows nobody who uses it"},
	{"scale", []string{"mesh"}, "a decision is a function of the model and of measurements"},

	{"dashboard", []string{"telemetry"}, "it shows what is stored"},
	{"control", []string{"dashboard", "internal/swift", "internal/wait", "kube", "mesh", "registry", "scale", "telemetry", "xds/cache", "xds/discovery", "xds/resource", "xds/server", "xds/translate"},
		"the control plane is put together here, and is never on the request path"},

	{"ctl", []string{"demo", "internal/wait", "supervise"}, "the command line speaks to meshd and sidecars over their interfaces"},
	{"demo", []string{"ctl/api", "ctl/runner", "ctl/show", "dashboard/chart", "internal/loadgen", "internal/wait", "scale", "supervise"}, "the demo is made of what a user has"},

	{"sidecar", []string{"xds/client", "xds/resource", "breaker", "internal/program", "internal/swift", "internal/wait", "tracing"}, "the data plane has no policy of its own and carries no control plane"},
	{"sidecar/balancer", []string{"sidecar/endpoint", "breaker", "xds/resource"}, "a Picker chooses; it never dials"},
	{"sidecar/endpoint", []string{"breaker", "xds/resource"}, "an endpoint knows its state, not who uses it"},
	{"sidecar/health", []string{"sidecar/endpoint", "sidecar/protocol/grpc", "xds/resource"}, "it writes endpoints' standing and nothing else; it chooses nobody and knows no call"},
	{"sidecar/pool", []string{"sidecar/endpoint"}, "connections to an endpoint: no choosing, no retries"},
	{"sidecar/route", []string{"xds/resource"}, "a pure, immutable table"},
	{"sidecar/stats", nil, "a lock-free leaf"},
	{"sidecar/load", []string{"sidecar/balancer", "sidecar/endpoint", "breaker", "xds/resource"}, "a question and an answer: it chooses nothing"},
	{"sidecar/listener", nil, "accepting knows no HTTP"},
	{"sidecar/redirect", nil, "one-shot, off the path"},
	{"sidecar/upgrade", nil, "descriptors and processes, no HTTP"},
	{"sidecar/protocol/detect", nil, "first bytes to a word"},
	{"sidecar/protocol/grpc", []string{"sidecar/stats", "sidecar/endpoint"}, "pure functions from bytes to what the other rooms have words for"},
	{"sidecar/protocol/socket", nil, "system calls, no protocol"},

	{"cmd/sidecar", []string{"internal/cliflag", "sidecar", "xds/client", "xds/resource", "breaker", "tracing"}, "a binary wires its own side"},
	{"cmd/meshd", []string{"internal/cliflag", "internal/program", "control", "registry", "kube", "scale", "telemetry"}, "a binary wires its own side"},
	{"cmd/meshctl", []string{"ctl", "demo"}, "a binary wires its own side"},

	{"internal", nil, "tools and test kits do not depend on what they serve"},
	{"test", []string{"."}, "whole-system tests may use everything"},
}

// A ban keeps packages of others out of a room.
type ban struct {
	rooms  []string // "." is every room
	except []string
	path   string
	why    string
}

var bans = []ban{
	{[]string{"."}, []string{"kube", "test"}, "k8s.io", "what imports k8s.io lives in kube/"},
	{[]string{"."}, []string{"kube", "test"}, "sigs.k8s.io", "what imports Kubernetes lives in kube/"},
	{[]string{"."}, []string{"registry", "test", "internal/deps"}, "go.etcd.io", "etcd is the registry's own affair"},
	{[]string{"mesh"}, nil, "google.golang.org", "the model is plain Go: no protobuf"},
	{[]string{"mesh"}, nil, "github.com/envoyproxy", "the model is plain Go: no protobuf"},
	{[]string{"mesh"}, nil, "net/http", "the model does no I/O"},
	{[]string{"sidecar", "cmd/sidecar", "xds/client", "xds/resource", "tracing", "breaker"}, nil, "github.com/envoyproxy/go-control-plane",
		"its generated packages alone cost a sidecar 5 MB; xds/resource reads the wire"},
	{[]string{"sidecar"}, []string{"cmd/sidecar"}, "github.com/spf13/cobra", "the data plane has a Config; flags are cmd's"},
	{[]string{"sidecar/route", "sidecar/balancer"}, nil, "net/http", "choosing is pure"},
}

func TestImportDirection(t *testing.T) {
	for _, p := range parsed(t).pkgs {
		r := ruleOf(p.path)
		if r == nil {
			t.Errorf("%s is in no room: add it to the rules here and to the README's map", p.path)
			continue
		}
		for _, path := range p.imports() {
			if ours, ok := strings.CutPrefix(path, module+"/"); ok {
				if !under(ours, r.room) && !underAny(ours, r.may) && !(len(r.may) == 1 && r.may[0] == ".") {
					t.Errorf("%s imports %s; %s may import %s: %s", p.path, ours, r.room, some(r.may), r.why)
				}
				continue
			}
			for _, b := range bans {
				in := b.rooms[0] == "." || underAny(p.path, b.rooms)
				if in && !underAny(p.path, b.except) && under(path, b.path) {
					t.Errorf("%s imports %s: %s", p.path, path, b.why)
				}
			}
		}
	}
}

func ruleOf(path string) *rule {
	var best *rule
	for i := range rules {
		if r := &rules[i]; under(path, r.room) && (best == nil || len(r.room) > len(best.room)) {
			best = r
		}
	}
	return best
}

func some(rooms []string) string {
	if len(rooms) == 0 {
		return "nothing of ours"
	}
	return strings.Join(rooms, ", ")
}

// binaryBans are packages that a binary must not carry, however they get in.
var binaryBans = []struct{ cmd, path, why string }{
	{"sidecar", "k8s.io", "a sidecar is a few MB and knows no platform"},
	{"sidecar", "go.etcd.io", "a sidecar is a few MB and knows no registry"},
	{"sidecar", "github.com/envoyproxy/go-control-plane", "5 MB of memory for messages that a sidecar never sees"},
	{"sidecar", "gonum.org", "a sidecar draws nothing"},
	{"sidecar", module + "/mesh", "policy is meshd's; a sidecar gets it over xDS"},
	{"meshctl", module + "/sidecar", "the command line speaks to sidecars over their interfaces"},
	{"meshctl", module + "/control", "the command line speaks to meshd over its interface"},
	{"meshctl", "go.etcd.io", "the registry is meshd's"},
	{"meshctl", "k8s.io/client-go/informers", "the command line watches nothing for long"},
	{"meshd", module + "/sidecar", "the control plane is never on the request path"},
}

func TestBinaries(t *testing.T) {
	for _, cmd := range []string{"sidecar", "meshd", "meshctl"} {
		if _, err := os.Stat(filepath.Join(root, "cmd", cmd)); err != nil {
			t.Logf("cmd/%s is not there", cmd)
			continue
		}
		list := exec.Command("go", "list", "-e", "-deps", "./cmd/"+cmd)
		list.Dir = root
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list -deps ./cmd/%s: %v", cmd, err)
		}
		for dep := range strings.Lines(string(out)) {
			for _, b := range binaryBans {
				if dep := strings.TrimSpace(dep); b.cmd == cmd && under(dep, b.path) {
					t.Errorf("cmd/%s depends on %s: %s", cmd, dep, b.why)
				}
			}
		}
	}
}
