package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test program be the children that it makes of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"load", "backend", "grpc-backend", "tcp-backend"}, os.Args[1]) {
		if err := dispatch(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// TestBench runs the whole for a moment, against every proxy that is there.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts every proxy")
	}
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	var only, without []string
	for _, p := range proxies() {
		if _, err := p.find(where{root, filepath.Join(root, "bin")}); err != nil {
			without = append(without, p.name)
		} else {
			only = append(only, p.name)
		}
	}
	if len(only) == 0 {
		t.Skip("no proxy is there: neither bin/sidecar nor envoy, haproxy or nginx")
	}
	if len(without) > 0 {
		t.Logf("not there: %v", without)
	}
	for _, what := range []string{"--protocol http1,http2,grpc --shape c16m1 --load fixed", "--protocol tcp --shape c4m1"} {
		benchOnce(t, only, strings.Fields(what))
	}
}

func benchOnce(t *testing.T, only, what []string) {
	var out, progress strings.Builder
	args := append([]string{"--duration", "200ms", "--warm-up", "50ms", "--rounds", "1", "--rate", "500", "--only", strings.Join(only, ","), "--json"}, what...)
	if err := dispatch(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var got struct {
		Runs    []sample
		Summary []row
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	// nginx has no TCP.
	if n := len(got.Runs); n == 0 || n != len(got.Summary) || what[1] != protoTCP && n != 3*len(only) {
		t.Fatalf("%d runs and %d rows of %v", n, len(got.Summary), only)
	}
	for _, s := range got.Runs {
		bad := s.Failed != 0 || s.CPU <= 0 || s.RSS < 1e6 || s.PeakRSS < s.RSS
		if s.Protocol == protoTCP {
			bad = bad || s.OK != 4 || s.Bytes < 1e6
		} else {
			bad = bad || s.OK != 100 || s.P99 < s.P50 || s.P50 <= 0
		}
		if bad {
			t.Errorf("%+v", s)
		}
	}
}

func TestInterrupted(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := find("nginx"); err != nil {
		t.Skip("nginx is not there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{where: where{root: root}, dir: t.TempDir(), paths: map[string]string{}, warmUp: time.Second, progress: t.Output()}
	if r.sink, err = startSink(); err != nil {
		t.Fatal(err)
	}
	defer r.sink.close()
	chosen, _, err := r.choose(options{only: []string{"nginx"}}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	c := cell{protoHTTP2, "c16m1", fixed}
	if r.backends, err = startBackends(ctx, r.dir, []cell{c}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.measure(ctx, chosen[:1], c, 1, load{Protocol: protoHTTP2, Rate: 1, Connections: 1, Duration: 1e9}); !errors.Is(err, context.Canceled) {
		t.Errorf("measure: %v", err)
	}
	r.backends.stop()
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.backends.processes[0].pid)); err == nil {
		t.Errorf("the backend is still there")
	}
	if left, _ := filepath.Glob(r.dir + "/*-nginx"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"--only", "ours,envoy", "--load", "saturated", "--protocol", "http1,tcp", "--check"}, t.Output())
	if err != nil || len(o.only) != 2 || !o.check {
		t.Errorf("%+v, %v", o, err)
	}
	if got, want := fmt.Sprint(o.cells()), "[http1 c16m1 saturated tcp c1m1 saturated tcp c4m1 saturated]"; got != want {
		t.Errorf("cells %s, want %s", got, want)
	}
	for _, bad := range []string{"--only=squid", "--protocol=spdy", "--shape=c1", "--load=half", "--duration=1ms", "--warm-up=0", "--rounds=0",
		"--rate=NaN", "--burst=-1", "--connections=0", "--gomaxprocs=-1", "x", "--protocol=tcp --load=fixed"} {
		if _, err := parseOptions(strings.Fields(bad), t.Output()); err == nil || !strings.Contains(err.Error(), "accepted") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// With the defaults every protocol is measured in every shape.
func TestCells(t *testing.T) {
	o, err := parseOptions(nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if cells := o.cells(); len(cells) != 2+4+4+2 {
		t.Errorf("%v", cells)
	}
	for c, want := range map[cell]load{
		{protoHTTP1, "c16m1", fixed}:    {Protocol: protoHTTP1, Rate: 4000, Burst: 1, Connections: 16, Streams: 1},
		{protoHTTP2, "c4m16", fixed}:    {Protocol: protoHTTP2, Rate: 4000, Burst: 16, Connections: 4, Streams: 16},
		{protoGRPC, "c4m16", saturated}: {Protocol: protoGRPC, Connections: 4, Streams: 16},
		{protoTCP, "c4m1", saturated}:   {Protocol: protoTCP, Connections: 4, Streams: 1},
	} {
		if want.Duration = o.duration; o.load(c) != want {
			t.Errorf("%v: %+v", c, o.load(c))
		}
	}
}

func TestRender(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p, func(t *testing.T) { testRender(t, p) })
	}
}

func testRender(t *testing.T, protocol string) {
	dir := t.TempDir()
	v := values{Protocol: protocol, Dir: dir, Body: theBody, Listen: "127.0.0.1:1", Admin: "127.0.0.1:2", Sink: "127.0.0.1:3", Backends: []string{"127.0.0.1:4", "127.0.0.1:5"}}
	files, err := confs.ReadDir("conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path, err := render(dir, f.Name(), v)
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(b), "<no value>") || !strings.Contains(string(b), "127.0.0.1") {
			t.Errorf("%s: %v\n%s", f.Name(), err, b)
		}
	}
}

// The commands that docs/performance.md shows are ones that this program takes.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(page)) {
		cmd, ok := strings.CutPrefix(line, "go run ./test/bench")
		if !ok {
			continue
		}
		cmd, _, _ = strings.Cut(cmd, "#")
		cmd, _, _ = strings.Cut(cmd, ">")
		if _, err := parseOptions(strings.Fields(cmd), t.Output()); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		n++
	}
	if n == 0 {
		t.Error("no command found")
	}
}
