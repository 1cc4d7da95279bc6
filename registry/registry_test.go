package registry

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"

	"github.com/meshd/meshd/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config) *Registry {
	t.Helper()
	cfg.NoSync = true
	cfg.LeaseTTL = MinLeaseTTL
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func instance(id string) Instance {
	return Instance{Instance: mesh.Instance{
		ID: id, Namespace: "default", Service: "checkout", ServicePort: 8080,
		Address: netip.MustParseAddr("127.0.0.1"), Port: 31006, Weight: 1, Ready: true, PID: 4711,
	}}
}

func register(t *testing.T, r *Registry, in Instance) *Registration {
	t.Helper()
	g, err := r.Register(in)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// eventually waits until ok holds for r's snapshot.
func eventually(t *testing.T, r *Registry, what string, ok func(Snapshot) bool) time.Duration {
	t.Helper()
	start := time.Now()
	timeout := time.NewTimer(15 * time.Second)
	defer timeout.Stop()
	for !ok(r.Snapshot()) {
		select {
		case <-r.Changed():
		case <-timeout.C:
			t.Fatalf("never: %s; have %+v", what, r.Snapshot())
		}
	}
	return time.Since(start)
}

func has(ids ...string) func(Snapshot) bool {
	return func(s Snapshot) bool {
		var got []string
		for _, in := range s.Instances {
			got = append(got, in.ID)
		}
		return strings.Join(got, " ") == strings.Join(ids, " ")
	}
}

func TestRegisterUpdateRelease(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	g := register(t, r, instance("checkout-0"))
	eventually(t, r, "registered", has("checkout-0"))

	in := instance("checkout-0")
	in.Draining = true
	if err := g.Update(in); err != nil {
		t.Fatal(err)
	}
	eventually(t, r, "updated", func(s Snapshot) bool { return s.Instances[0].Draining })
	if err := g.Update(instance("checkout-1")); err == nil {
		t.Error("an update made one instance another")
	}

	g.Release(100 * time.Millisecond)
	if d := eventually(t, r, "released", has()); d < 90*time.Millisecond || d > 900*time.Millisecond {
		t.Errorf("gone after %v, want 100 ms", d)
	}
}

func TestRegisterRefuses(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	in := instance("a/b")
	if _, err := r.Register(in); err == nil || !strings.Contains(err.Error(), `"a/b"`) {
		t.Errorf("Register = %v", err)
	}
}

// ReadySince follows Ready, and a sidecar that comes back keeps it.
func TestReadySince(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	in := instance("checkout-0")
	in.Ready = false
	g := register(t, r, in)
	eventually(t, r, "registered", has("checkout-0"))
	if got := r.Snapshot().Instances[0].ReadySince; got != 0 {
		t.Errorf("not ready since %d", got)
	}
	in.Ready = true
	if err := g.Update(in); err != nil {
		t.Fatal(err)
	}
	eventually(t, r, "ready", func(s Snapshot) bool { return s.Instances[0].Ready })
	since := r.Snapshot().Instances[0].ReadySince
	if now := time.Now().UnixMilli(); since < now-60_000 || since > now {
		t.Errorf("ready since %d, now %d", since, now)
	}
	again, err := r.Register(in)
	if err != nil {
		t.Fatal(err)
	}
	if again.ready != since {
		t.Errorf("ready since %d after it came back, want %d", again.ready, since)
	}
	in.Ready = false
	if err := again.Update(in); err != nil || again.ready != 0 {
		t.Errorf("%v, %d", err, again.ready)
	}
}

// A sidecar that comes back in the grace is never seen to be away.
func TestReconnectWithinGrace(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	first := register(t, r, instance("checkout-0"))
	eventually(t, r, "registered", has("checkout-0"))
	since := r.Snapshot().Instances[0].Since

	watch := r.client.Watch(t.Context(), instancePrefix, clientv3.WithPrefix())
	first.Release(50 * time.Millisecond)
	second := register(t, r, instance("checkout-0"))
	<-second.placed
	if got := r.Snapshot().Instances[0].Since; !got.Equal(since) {
		t.Errorf("since = %v, want the first's %v", got, since)
	}
	// The first's lease goes while the second holds the key; the sentinel
	// comes after that in etcd's order.
	for lease := true; lease; {
		leases, err := r.client.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease = len(leases.Leases) > 1
	}
	register(t, r, instance("sentinel"))
	for resp := range watch {
		for _, ev := range resp.Events {
			if ev.Type == clientv3.EventTypeDelete {
				t.Fatalf("%s was deleted", ev.Kv.Key)
			}
			if strings.HasSuffix(string(ev.Kv.Key), "/sentinel") {
				return
			}
		}
	}
}

// What a restart of meshd keeps, and that an old lease's end does not delete
// an instance that is back.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{DataDir: dir})
	register(t, r, instance("back"))
	register(t, r, instance("lost"))
	if _, err := r.PutObject(t.Context(), Object{Kind: "Service", Namespace: "default", Name: "checkout", Body: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, r, "registered", has("back", "lost"))
	r.Close()

	start := time.Now()
	r = open(t, Config{DataDir: dir})
	defer r.Close()
	t.Logf("open again: %v", time.Since(start))
	if s := r.Snapshot(); !has("back", "lost")(s) || len(s.Objects) != 1 {
		t.Fatalf("after the restart: %+v", s)
	}
	register(t, r, instance("back"))
	d := eventually(t, r, "lost's lease ended", has("back"))
	if d < time.Second {
		t.Errorf("lost's lease ended after %v, want about its TTL", d)
	}
}

func TestHeals(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	register(t, r, instance("checkout-0"))
	eventually(t, r, "registered", has("checkout-0"))
	key := instanceKey("default", "checkout", "checkout-0")

	// Deleted by hand.
	del, err := r.client.Delete(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	kv := await(t, r, key, del.Header.Revision)

	// Lease revoked by hand.
	rev, err := r.client.Revoke(t.Context(), clientv3.LeaseID(kv))
	if err != nil {
		t.Fatal(err)
	}
	if again := await(t, r, key, rev.Header.Revision); again == kv {
		t.Error("still under the revoked lease")
	}
}

// await returns the lease of the first put of key after rev.
func await(t *testing.T, r *Registry, key string, rev int64) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for resp := range r.client.Watch(ctx, key, clientv3.WithRev(rev+1)) {
		for _, ev := range resp.Events {
			if ev.Type == clientv3.EventTypePut {
				return ev.Kv.Lease
			}
		}
	}
	t.Fatalf("%s was not put back", key)
	return 0
}

func TestCompaction(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	for i := range 5 {
		if err := r.SetScale(t.Context(), Scale{"default", "checkout", i}); err != nil {
			t.Fatal(err)
		}
	}
	get, err := r.client.Get(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Compact(t.Context(), get.Header.Revision); err != nil {
		t.Fatal(err)
	}
	late := &Registry{cfg: r.cfg, log: r.log, client: r.client}
	late.ctx, late.cancel = context.WithCancel(t.Context())
	late.picture.init()
	late.wg.Go(func() { late.watch(1) })
	eventually(t, late, "read again", func(s Snapshot) bool {
		return len(s.Scales) == 1 && s.Scales[0] == Scale{"default", "checkout", 4}
	})
	late.cancel()
	late.wg.Wait()
}

func TestObjects(t *testing.T) {
	r := open(t, Config{DataDir: t.TempDir()})
	defer r.Close()
	o := Object{Kind: "Service", Namespace: "shop", Name: "cart", Body: []byte(`{"a":1}`)}
	for i, want := range []Result{Created, Unchanged, Configured} {
		if i == 2 {
			o.Body = []byte(`{"a":2}`)
		}
		if got, err := r.PutObject(t.Context(), o); err != nil || got != want {
			t.Fatalf("PutObject %d = %v, %v, want %v", i, got, err, want)
		}
	}
	if s := r.Snapshot(); len(s.Objects) != 1 || string(s.Objects[0].Body) != `{"a":2}` {
		t.Fatalf("after PutObject: %+v", s)
	}
	for _, want := range []bool{true, false} {
		if got, err := r.DeleteObject(t.Context(), "Service", "shop", "cart"); err != nil || got != want {
			t.Fatalf("DeleteObject = %v, %v, want %v", got, err, want)
		}
	}
	o.Name = "a/b"
	if _, err := r.PutObject(t.Context(), o); err == nil {
		t.Error("a name with a slash was stored")
	}
	if err := r.SetScale(t.Context(), Scale{"default", "checkout", -1}); err == nil {
		t.Error("a negative scale was stored")
	}
}

func TestDataDirInUse(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{DataDir: dir})
	defer r.Close()
	_, err := Open(t.Context(), Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by another meshd") {
		t.Errorf("Open = %v", err)
	}
}

// external starts an etcd that others connect to, as an external cluster is.
func external(t *testing.T) string {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.TickMs, cfg.ElectionMs = 50, 250
	cfg.UnsafeNoFsync = true
	cfg.LogLevel = "fatal"
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return fmt.Sprintf("http://%s", e.Clients[0].Addr())
}

func TestSeveralMeshds(t *testing.T) {
	etcd := external(t)
	a := open(t, Config{Endpoints: []string{etcd}})
	b := open(t, Config{Endpoints: []string{etcd}})
	defer b.Close()

	moved := register(t, a, instance("moves"))
	register(t, a, instance("dies"))
	eventually(t, b, "a's instances seen by b", has("dies", "moves"))

	// The sidecar moves to b; a notices later.
	g := register(t, b, instance("moves"))
	<-g.placed
	moved.Release(0)
	// a dies; what it served ends with its lease, what moved stays.
	a.Close()
	eventually(t, b, "dies' lease ended", has("moves"))
}

// Two sidecars by one name: the later counts, and when it goes the earlier is
// back.
func TestSameIDTwice(t *testing.T) {
	etcd := external(t)
	a := open(t, Config{Endpoints: []string{etcd}})
	defer a.Close()
	b := open(t, Config{Endpoints: []string{etcd}})
	defer b.Close()
	g := register(t, a, instance("twin"))
	<-g.placed
	other := instance("twin")
	other.Port = 31007
	g = register(t, b, other)
	port := func(p uint16) func(Snapshot) bool {
		return func(s Snapshot) bool { return len(s.Instances) == 1 && s.Instances[0].Port == p }
	}
	eventually(t, a, "the later counts", port(31007))
	g.Release(0)
	eventually(t, a, "the earlier is back", port(31006))
}

func TestNoEtcd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Config{Endpoints: []string{"http://127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("Open = %v", err)
	}
	blocked := t.TempDir() + "/file"
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{DataDir: blocked}); err == nil {
		t.Error("opened in a file")
	}
	for _, ttl := range []time.Duration{time.Second, 2500 * time.Millisecond} {
		if _, err := Open(t.Context(), Config{DataDir: t.TempDir(), LeaseTTL: ttl}); err == nil {
			t.Errorf("lease TTL %v accepted", ttl)
		}
	}
}

func FuzzEntry(f *testing.F) {
	b, _ := encodeInstance(instance("checkout-0"))
	f.Add(instanceKey("default", "checkout", "checkout-0"), b)
	f.Add(objectKey("Service", "default", "checkout"), []byte(`{}`))
	f.Add(scaleKey("default", "checkout"), []byte(`{"replicas":3}`))
	f.Add(root+"other", []byte(``))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		var p picture
		p.init()
		if err := p.set(key, value); err == nil && len(p.instances)+len(p.objects)+len(p.scales) != 1 {
			t.Errorf("%q accepted and not stored", key)
		}
		for k, in := range p.instances {
			if in.Validate() != nil || instanceKey(in.Namespace, in.Service, in.ID) != k {
				t.Errorf("%q holds %+v", k, in)
			}
		}
	})
}

// The secret is one, however often it is asked for, and outlives a meshd.
func TestSecret(t *testing.T) {
	dir := t.TempDir()
	var first []byte
	for range 2 {
		r := open(t, Config{DataDir: dir})
		for range 2 {
			s, err := r.Secret(t.Context())
			if err != nil || len(s) != secretBytes || first != nil && !bytes.Equal(s, first) {
				t.Errorf("got %x, %v after %x", s, err, first)
			}
			first = s
		}
		r.Close()
	}
}
