package show

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshd/meshd/ctl/api"
)

var update = flag.Bool("update", false, "write the goldens anew")

func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", path, got, want)
	}
}

var three = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

// scaledUp is a service that has too much to do, and gets instances.
func scaledUp() Scale {
	v := Scale{Service: api.ServiceName{Namespace: "shop", Name: "cart"}, From: three, Window: 5 * time.Minute, Step: 3 * time.Second}
	for i := range 100 {
		s := api.Sample{Time: three.Add(time.Duration(3*i) * time.Second), RPS: 100 + 3*float64(i), Success: 1, P50Ms: 5, P99Ms: 20, Instances: 1,
			MeanMs: 8, OwnMs: 5, QueuedMs: 2.5, NetworkMs: 0.5}
		switch {
		case i >= 20 && i < 60:
			s.P50Ms, s.P99Ms = 5+float64(i-20)*4, 20+float64(i-20)*20
		case i >= 60:
			s.Instances = min(2+(i-60)/10, 5)
			s.P50Ms, s.P99Ms = 5.5, 22
		}
		if i >= 40 && i < 44 {
			s = api.Sample{Time: s.Time, Success: 1, Instances: 1} // nobody called
		}
		v.Samples = append(v.Samples, s)
	}
	v.Samples[30].Trace, v.Samples[59].Trace = "11111111111111111111111111111111", "4bf92f3577b34da6a3ce929d0e0e4736"
	at := func(seconds int) time.Time { return three.Add(time.Duration(seconds) * time.Second) }
	v.Events = []api.Event{
		{Time: at(1), Kind: "instance-joined", Instance: "cart-0", Text: "takes calls"},
		{Time: at(90), Kind: "breaker-open", Text: "breakers of 2 callers are open"},
		{Time: at(170), Kind: "scaled", Text: "5 instances are wanted"},
		{Time: at(180), Kind: "instance-joined", Instance: "cart-1", Text: "cart-1 takes calls"},
		{Time: at(210), Kind: "instance-joined", Instance: "cart-2", Text: "cart-2 takes calls"},
		{Time: at(212), Kind: "ejected", Instance: "cart-0"},
		{Time: at(240), Kind: "unheard-of", Text: "with \x1b[31m colours"},
	}
	return v
}

func TestLatencyPicture(t *testing.T) {
	even := scaledUp()
	even.Events = nil
	for i := range even.Samples {
		even.Samples[i].P50Ms, even.Samples[i].P99Ms = 10, 40
	}
	for name, tc := range map[string]struct {
		v    Scale
		size Size
	}{
		"latency":        {scaledUp(), Size{Width: 80, Height: 24}},
		"latency-wide":   {scaledUp(), Size{Width: 120, Height: 40}},
		"latency-small":  {scaledUp(), Size{Width: 40, Height: 12}},
		"latency-colour": {scaledUp(), Size{Width: 60, Height: 24, Colour: true}},
		"latency-even":   {even, Size{Width: 80, Height: 24}},
		"latency-none":   {Scale{Service: even.Service, Window: 5 * time.Minute}, Size{Width: 80, Height: 24}},
		"latency-one":    {Scale{Service: even.Service, Window: 5 * time.Minute, Samples: even.Samples[:1], From: three, Step: time.Second}, Size{Width: 80, Height: 24}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.size.Zone = time.UTC
			lines := Latency(tc.v, tc.size)
			golden(t, name, lines)
			if len(lines) > max(tc.size.Height, 24) {
				t.Errorf("%d lines for %d", len(lines), tc.size.Height)
			}
			for _, line := range lines[1:] {
				if n := utf8.RuneCountInString(line); n > tc.size.Width && !tc.size.Colour && line[0] == ' ' {
					t.Errorf("%d columns for %d: %s", n, tc.size.Width, line)
				}
				if strings.Contains(line, "\x1b") && !tc.size.Colour {
					t.Errorf("not fit for a terminal: %q", line)
				}
			}
		})
	}
}

func TestValueScale(t *testing.T) {
	for v, want := range map[float64]float64{1: 1, 1.1: 2, 2: 2, 3: 5, 7: 10, 0.3: 0.5, 1234: 2000} {
		if got := roundUp(v); got < want*0.999 || got > want*1.001 {
			t.Errorf("up %v: %v, want %v", v, got, want)
		}
	}
	for v, want := range map[float64]float64{1: 1, 1.9: 1, 2: 2, 3: 2, 7: 5, 0.3: 0.2, 1234: 1000} {
		if got := roundDown(v); got < want*0.999 || got > want*1.001 {
			t.Errorf("down %v: %v, want %v", v, got, want)
		}
	}
	for d, want := range map[time.Duration]string{5 * time.Minute: "5m", time.Hour: "1h", 90 * time.Second: "1m30s", 30 * time.Second: "30s"} {
		if got := ShortDuration(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// Whatever is drawn, it stays within the picture.
func FuzzLatencyPicture(f *testing.F) {
	f.Add(5.0, 30.0, 200.0, 3, 80, 24, int64(10))
	f.Add(0.0, 1e300, -1.0, -5, 1, 1, int64(-1e12))
	f.Fuzz(func(t *testing.T, p50, p99, rps float64, instances, width, height int, ns int64) {
		width, height = width%300, height%100
		v := scaledUp()
		v.Samples = append(v.Samples, api.Sample{Time: three.Add(time.Duration(ns)), P50Ms: p50, P99Ms: p99, RPS: rps, Instances: instances % 1000, Success: 1})
		for _, line := range Latency(v, Size{Width: width, Height: height, Zone: time.UTC}) {
			if n := utf8.RuneCountInString(line); line != "" && line[0] == ' ' && n > max(width, gutter+leastPlot)+1 {
				t.Errorf("%d columns for %d: %s", n, width, line)
			}
		}
	})
}
