package watch

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// TestDead: where traces and metrics cannot be sent, calls take as long and sidecars have as
// little memory as where they can, and spans are lost and counted.
func TestDead(t *testing.T) {
	m := rig.New(t)
	m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))})
	refusing := rig.Serve(t, 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	gone := rig.Addrs(t, 1)[0] // nobody listens there
	slow := rig.Deaf(t)
	type backend struct {
		name, protocol, url string
		sidecar             *rig.Sidecar
		client              *http.Client
		took                []time.Duration
	}
	all := []*backend{ // the first is the one to compare with
		{name: "well", protocol: "http/protobuf", url: (&sink{}).serve(t)},
		{name: "gone", protocol: "http/protobuf", url: "http://" + gone},
		{name: "gone-grpc", protocol: "grpc", url: "http://" + gone},
		{name: "slow", protocol: "http/protobuf", url: "http://" + slow},
		{name: "slow-grpc", protocol: "grpc", url: "http://" + slow},
		{name: "refusing", protocol: "http/protobuf", url: "http://" + refusing},
		{name: "refusing-grpc", protocol: "grpc", url: "http://" + refuser(t)},
	}
	const queue = 512 // few spans, so that memory would show more of them
	for _, b := range all {
		b.sidecar = m.Sidecar(t, rig.Spec{Service: "edge", Instance: "edge-" + b.name, Env: []string{
			"OTEL_TRACES_SAMPLER=always_on", "OTEL_BSP_SCHEDULE_DELAY=100", fmt.Sprint("OTEL_BSP_MAX_QUEUE_SIZE=", queue),
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + b.url, "OTEL_EXPORTER_OTLP_PROTOCOL=" + b.protocol, "OTEL_METRIC_EXPORT_INTERVAL=500",
		}})
		b.client = &http.Client{Transport: rig.Transport(t, 1, b.sidecar.Outbound), Timeout: rig.Patience}
	}
	m.AwaitReady("cart")

	// In turn, so that what else the machine does is everybody's.
	const rounds, calls = 15, 200
	for range rounds {
		for _, b := range all {
			for range calls {
				began := time.Now()
				res, err := b.client.Get("http://cart:8080/")
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				b.took = append(b.took, time.Since(began))
				if res.StatusCode != http.StatusOK {
					t.Fatalf("%s: %s", b.name, res.Status)
				}
			}
		}
	}

	const spans = rounds * calls * 2 // a call and its attempt
	usual, memory := median(all[0].took), peak(t, all[0].sidecar)
	for _, b := range all {
		took, rss := median(b.took), peak(t, b.sidecar)
		var well, lost int
		process.Await(t, 30*time.Second, func() error {
			if well, lost = sent(t, b.sidecar); b.name == "well" && well < spans || b.name != "well" && lost < spans-queue {
				return fmt.Errorf("%s: %d spans are exported, %d lost, of %d", b.name, well, lost, spans)
			}
			return nil
		})
		t.Logf("%-14s median %v, %.1f MB, %d spans exported, %d lost", b.name, took, float64(rss)/1e6, well, lost)
		if b.name == "well" && lost > 0 || b.name != "well" && well > 0 {
			t.Errorf("%s: %d spans are exported, %d lost", b.name, well, lost)
		}
		if took > usual*3/2+100*time.Microsecond { // to wait for a backend takes 10 s
			t.Errorf("%s: the median call takes %v, else %v", b.name, took, usual)
		}
		if rss > memory+6<<20 {
			t.Errorf("%s: the sidecar has %d MB, else %d", b.name, rss>>20, memory>>20)
		}
	}
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}

// peak is the most memory that a sidecar has had: what it has now depends on
// when it last gave some back.
func peak(t *testing.T, s *rig.Sidecar) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	if _, err := fmt.Sscanf(after, "%d kB", &bytes); err != nil {
		t.Fatalf("VmHWM: %v in\n%s", err, text)
	}
	return bytes << 10
}

// refuser is a gRPC server that knows no method.
func refuser(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// sent is what a sidecar says became of its spans for the backend that the
// OTEL_ variables name: how many that has, and how many are lost.
func sent(t *testing.T, s *rig.Sidecar) (well, lost int) {
	t.Helper()
	families := metrics(t, s)
	sum := func(name string) (n int) {
		for _, m := range families[name].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "meshd_exporter" && l.GetValue() == "otel" {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
		return n
	}
	return sum("meshd_telemetry_exported_total"), sum("meshd_telemetry_dropped_total")
}
