package grpc

//lint:file-ignore SA1019 gRPC reports rps as well

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"

	orca "github.com/cncf/xds/go/xds/data/orca/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/sidecar/endpoint"
)

var (
	full = &orca.OrcaLoadReport{
		CpuUtilization: 0.5, MemUtilization: 0.25, ApplicationUtilization: 1.5, RpsFractional: 120.5, Eps: 2, Rps: 7,
		NamedMetrics: map[string]float64{"queue": 3}, RequestCost: map[string]float64{"db": 1}, Utilization: map[string]float64{"gpu": 0.9},
	}
	fullRead = endpoint.LoadReport{CPU: 0.5, Memory: 0.25, Application: 1.5, RPS: 120.5, EPS: 2}
)

func binary(t testing.TB, m *orca.OrcaLoadReport) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseLoad(t *testing.T) {
	inJSON, err := protojson.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]endpoint.LoadReport{
		"JSON " + string(inJSON):                                    fullRead,
		"BIN " + base64.StdEncoding.EncodeToString(binary(t, full)): fullRead,
		"TEXT cpu_utilization=0.5,mem_utilization=0.25,application_utilization=1.5,rps_fractional=120.5,eps=2,named_metrics.queue=x": fullRead,
		"TEXT cpu_utilization = 0.3, utilization.gpu=1":         {CPU: 0.3},
		`JSON {"cpu_utilization": "0.3", "eps": null, "x": {}}`: {CPU: 0.3},
		`JSON {}`: {},
		"BIN ":    {},
		"BIN " + base64.StdEncoding.EncodeToString(binary(t, &orca.OrcaLoadReport{Rps: 7})): {RPS: 7},
	} {
		if got, err := ParseLoad([]byte(value)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
	for value, want := range map[string]string{
		"":                         "format",
		"text cpu_utilization=1":   "format",
		"XML <a/>":                 "format",
		"TEXT":                     "NAME=NUMBER",
		"TEXT cpu_utilization":     "NAME=NUMBER",
		"TEXT cpu_utilization=a":   "want a number",
		"TEXT cpu_utilization=NaN": "from 0 up",
		"TEXT eps=-1":              "from 0 up",
		"TEXT eps=+Inf":            "from 0 up",
		"TEXT rps_fractional=1e99": "from 0 up",
		"JSON [1]":                 "JSON object",
		`JSON {"eps": true}`:       "want a number",
		`JSON {"eps": {}}`:         "want a number",
		"BIN !":                    "base64",
		"BIN " + base64.StdEncoding.EncodeToString([]byte{9, 1}):                                                "OrcaLoadReport",
		"BIN " + base64.StdEncoding.EncodeToString(binary(t, &orca.OrcaLoadReport{CpuUtilization: math.NaN()})): "from 0 up",
		"TEXT " + strings.Repeat("named_metrics.a=1,", 500) + "cpu_utilization=1":                               "at most",
	} {
		got, err := ParseLoad(value)
		if err == nil || !strings.Contains(err.Error(), want) || got != (endpoint.LoadReport{}) || len(err.Error()) > 200 {
			t.Errorf("%.40s: %+v, %v", value, got, err)
		}
	}
}

func TestParseLoadBin(t *testing.T) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		if got, err := ParseLoadBin(e.EncodeToString(binary(t, full))); err != nil || got != fullRead {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, value := range []string{"!", strings.Repeat("A", maxLoad+1)} {
		if got, err := ParseLoadBin(value); err == nil || got != (endpoint.LoadReport{}) {
			t.Errorf("%.40s: %+v, %v", value, got, err)
		}
	}
}

// FuzzLoad: every report that is read is of numbers that a balancer can use,
// and what the generated type reads of the same bytes.
func FuzzLoad(f *testing.F) {
	inJSON, err := protojson.Marshal(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("JSON "+string(inJSON), binary(f, full))
	f.Add("TEXT cpu_utilization=0.5,named_metrics.queue=3", binary(f, &orca.OrcaLoadReport{Rps: 7}))
	f.Add("BIN "+base64.StdEncoding.EncodeToString(binary(f, full)), []byte{9, 1})
	f.Add("TEXT cpu_utilization=NaN", binary(f, &orca.OrcaLoadReport{Eps: math.Inf(1)}))
	f.Add(`JSON {"eps": "1e300"}`, []byte{0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, value string, data []byte) {
		check := func(r endpoint.LoadReport, err error) {
			for _, v := range []float64{r.CPU, r.Memory, r.Application, r.RPS, r.EPS} {
				if !(v >= 0) || math.IsInf(v, 0) || err != nil && v != 0 {
					t.Fatalf("%q, %x: %+v, %v", value, data, r, err)
				}
			}
		}
		check(ParseLoad(value))
		text := base64.StdEncoding.EncodeToString(data)
		r, err := ParseLoadBin(text)
		check(r, err)
		if err != nil {
			return
		}
		var m orca.OrcaLoadReport
		if proto.Unmarshal(data, &m) != nil {
			return // such as a text that is not UTF-8, which is not read here
		}
		rps := m.GetRpsFractional()
		if rps == 0 {
			rps = float64(m.GetRps())
		}
		want := endpoint.LoadReport{
			CPU: m.GetCpuUtilization(), Memory: m.GetMemUtilization(), Application: m.GetApplicationUtilization(), RPS: rps, EPS: m.GetEps(),
		}
		if r != want {
			t.Fatalf("%x: %+v, want %+v", data, r, want)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	for name, value := range map[string]string{
		"text": "TEXT cpu_utilization=0.5,rps_fractional=120.5,eps=2",
		"json": `JSON {"cpu_utilization":0.5,"rps_fractional":120.5,"eps":2}`,
		"bin":  "BIN " + base64.StdEncoding.EncodeToString(binary(b, full)),
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(value)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseLoad(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
