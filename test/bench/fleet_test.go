package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	testkit "github.com/meshd/meshd/internal/testkit/process"
)

// TestFleetMode measures a small fleet for a moment. What is lost on the way
// says how busy the machine is, and is not looked at.
func TestFleetMode(t *testing.T) {
	bin := filepath.Dir(testkit.Binary(t, "meshd"))
	var out, progress strings.Builder
	if err := dispatch(t.Context(), []string{"--fleet", "--sidecars=50", "--fleet-duration=3s", "--json", "--bin", bin}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var got fleetRun
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	for _, s := range got.exports() {
		if s.Taken == 0 || s.Refused > 0 || s.Bytes/s.Taken < 500 {
			t.Errorf("%s: %+v", s.what, s.sent)
		}
	}
	if got.Metrics.Bytes/got.Metrics.Taken < 30_000 { // 50 services with an endpoint each
		t.Errorf("metrics: %+v", got.Metrics)
	}
	if got.Loaded.CPU <= got.Idle.CPU || got.Store <= 0 || got.Loaded.RSS <= 10e6 || got.Loaded.Peak < got.Loaded.RSS || got.Generator <= 0 {
		t.Errorf("%+v", got)
	}
	if text := got.table(); !strings.Contains(text, "measured: they report, for 3s") || strings.Contains(text, "TestFleet") {
		t.Error(text)
	}
}

func TestFleetBars(t *testing.T) {
	good := fleetRun{
		Loaded:  state{CPU: 0.5, RSS: 299e6, Peak: 400e6},
		Metrics: sent{Taken: 100}, Spans: sent{Taken: 10},
	}
	if err := good.missed(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*fleetRun){
		"0.31 cores":      func(r *fleetRun) { r.Store = 0.31 },
		"RSS is 301.0 MB": func(r *fleetRun) { r.Loaded.RSS = 301e6 },
		"1 lost":          func(r *fleetRun) { r.Metrics.Lost = 1 },
		"1 refused":       func(r *fleetRun) { r.Spans.Refused = 1 },
		"0 exports taken": func(r *fleetRun) { r.Spans.Taken = 0 },
	} {
		r := good
		spoil(&r)
		if err := r.missed(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A mold gives each sender's message what is its own, and no other length.
func TestMold(t *testing.T) {
	m := cut([]byte("a service-xx-yy b service-xx c trace-xx d"))
	got := string(m.of(map[string][]byte{marked: []byte("service-07"), marked + "-yy": []byte("service-07-03"), markedTrace: []byte("trac0123")}).Materialize())
	if want := "a service-07-03 b service-07 c trac0123 d"; got != want || m.size != len(want) {
		t.Errorf("%q of %d bytes, want %q", got, m.size, want)
	}
}
