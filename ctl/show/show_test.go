package show

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/ctl/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestColumns(t *testing.T) {
	got := Columns([][]string{{"NAME", ">N", "LAST"}, {"checkout", "7", ""}, {"ä", "1234", "x"}})
	want := []string{"NAME          N   LAST", "checkout      7", "ä          1234   x"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMetrics(t *testing.T) {
	s := api.ServiceMetrics{
		Name: "slow", Namespace: "default", RPS: 199.6, Success: 0.99999, P50Ms: 5.123, P90Ms: 45.67, P99Ms: 1234,
		Instances: 2, RetriesPerSecond: 0.25, OpenBreakers: 1, InFlight: 3,
	}
	idle := api.ServiceMetrics{Name: "a", Namespace: "shop"}
	got := Metrics(api.Metrics{Services: []api.ServiceMetrics{s, idle}})
	want := []string{
		"SERVICE   REQ/S   SUCCESS      P50      P90     P99   INST   RETRY/S   OPEN   IN-FLIGHT",
		"slow        200    99.99%   5.12ms   45.7ms   1.23s      2       0.2      1           3",
		"shop/a        0         -        -        -       -      0         0      0           0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	line := MetricsLine(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), s)
	if want := "03:04:05 slow: 200 req/s, success 99.99%, p50 5.12ms, p90 45.7ms, p99 1.23s, instances 2, retries 0.2/s, open breakers 1, in-flight 3"; line != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

func TestSuccess(t *testing.T) {
	for share, want := range map[float64]string{1: "100%", 0.999999: "99.99%", 0.985: "98.5%", 0: "0%"} {
		if got := success(api.ServiceMetrics{RPS: 1, Success: share}); got != want {
			t.Errorf("%v: %s, want %s", share, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for seconds, want := range map[float64]string{0.4: "0s", 42: "42s", 190: "3m10s", 18120: "5h2m", 400000: "4d"} {
		if got := Age(seconds); got != want {
			t.Errorf("%v: %s, want %s", seconds, got, want)
		}
	}
}

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, func() int { return 5 })
	s.Draw([]string{"one", "two and more"})
	s.Write([]byte("note\n"))
	want := "one\x1b[0m\x1b[K\r\ntwo a\x1b[0m\x1b[K\r\n\x1b[J" +
		"\r\x1b[2Anote\x1b[K\r\none\x1b[0m\x1b[K\r\ntwo a\x1b[0m\x1b[K\r\n\x1b[J"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func FuzzCut(f *testing.F) {
	f.Add("\x1b[1mbold\x1b[0m", 3)
	f.Add("\x1b", 1)
	f.Fuzz(func(t *testing.T, line string, width int) {
		if got := cut(line, width); !strings.HasPrefix(line, got) {
			t.Errorf("%q is no beginning of %q", got, line)
		}
	})
}
