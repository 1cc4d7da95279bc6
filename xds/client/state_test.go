package client

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

var someAddr = netip.MustParseAddrPort("127.0.0.1:81")

// nobodyListens is an address that refuses connections.
const nobodyListens = "127.0.0.1:1"

func TestLastKnownGood(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		dir := t.TempDir()
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		f.service(t, "gone", "g", 1)
		r := start(t, Config{Addr: f.addr, Protocol: p, StateDir: dir, SaveDelay: time.Millisecond})
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		r.Watch("gone")
		r.expect("cluster g", "endpoints g 1", "route gone g")
		r.Watch("unknown")
		r.expect("route unknown nil")
		r.stop()

		// Without a control plane: everything is there, what is not known is not.
		r = start(t, Config{Addr: nobodyListens, Protocol: p, StateDir: dir})
		got := map[string]bool{}
		for range 6 {
			got[next(t, r.events)] = true
		}
		for _, want := range append([]string{"cluster g", "endpoints g 1", "route gone g"}, chain...) {
			if !got[want] {
				t.Errorf("no %q in %v", want, got)
			}
		}
		r.Unwatch("gone")
		r.expect("cluster g nil", "endpoints g nil")
		r.stop()

		// With one that has news: only the news come.
		f.set(t, resource.EndpointsType, "s", someEndpoints("s", 1, 2))
		r = start(t, Config{Addr: f.addr, Protocol: p, StateDir: dir})
		r.expect(chain...)
		r.expect("connected true", "endpoints s 2")
		r.none("x")
	})
}

func TestDamagedStateIsSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	for _, content := range []string{"", "rubbish", stateHeader + strings.Repeat("0", 64) + "\nx"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		r := start(t, Config{Addr: f.addr, StateDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		r.stop()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		if aside, err := os.ReadFile(path + ".bad"); err != nil || string(aside) != content {
			t.Errorf("set aside: %q, %v", aside, err)
		}
		if seed, err := readState(path); err != nil || len(seed) != 4 {
			t.Errorf("written anew: %d records, %v", len(seed), err)
		}
	}
	if left, err := filepath.Glob(path + "-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func FuzzState(f *testing.F) {
	g := newGraph(Config{Events: Events{}.filled(), AnswerTimeout: time.Hour}, &delta{})
	g.proto.reset(g)
	g.entries[cluster]["s"] = &entry{raw: []byte("x"), version: "1"}
	f.Add(encodeState(g))
	f.Add([]byte(stateHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		seed, err := decodeState(b)
		if err != nil {
			return
		}
		g := newGraph(Config{Events: Events{}.filled(), AnswerTimeout: time.Hour}, &delta{})
		g.proto.reset(g)
		g.seed, g.onBad = seed, func(kind, string, error) {}
		for key := range seed {
			if key.k == listener {
				g.watch(key.name)
			}
		}
		g.settle()
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(nil), false)
	f.Add(appendMessage(appendString(nil, 4, resource.ClusterType), 2, appendString(nil, 3, "s")), true)
	f.Add(appendMessage(appendString(nil, 4, resource.ClusterType), 2, appendString(nil, 1, resourceWrapper)), false)
	f.Fuzz(func(t *testing.T, b []byte, d bool) {
		l := &loop{Client: &Client{cfg: Config{Logger: quiet()}}, proto: &sotw{}}
		if d {
			l.proto = &delta{}
		}
		l.g = newGraph(Config{Events: Events{}.filled(), AnswerTimeout: time.Hour}, l.proto)
		l.proto.reset(l.g)
		l.g.watch("a")
		_ = l.receive(b)
		l.g.settle()
	})
}
