package grpc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// The fields, of the head of an answer or of its trailers, in which an endpoint
// reports its load (ORCA): the first as Envoy reads it, the second as gRPC does
// (gRFC A51).
const (
	LoadField    = "endpoint-load-metrics"     // TEXT, JSON or BIN
	LoadBinField = "endpoint-load-metrics-bin" // base64 of the protobuf
)

// maxLoad bounds a field that is read, in bytes: a report with a few dozen
// named metrics.
const maxLoad = 4 << 10

// ParseLoad reads the value of endpoint-load-metrics:
//
//	TEXT cpu_utilization=0.3, rps_fractional=120.5, named_metrics.queue=3
//	JSON {"cpu_utilization": 0.3, "rpsFractional": 120.5}
//	BIN CgmamZmZmZnZPw==
//
// What balancers do not use, such as named metrics, is passed over. An error
// says what is wrong with the report, of which nothing is to be used then.
func ParseLoad[T ~string | ~[]byte](value T) (endpoint.LoadReport, error) {
	if len(value) > maxLoad {
		return endpoint.LoadReport{}, fmt.Errorf("%s: %d bytes, at most %d are read", LoadField, len(value), maxLoad)
	}
	format, body, _ := strings.Cut(string(value), " ")
	var report endpoint.LoadReport
	var err error
	switch format {
	case "TEXT":
		report, err = textLoad(body)
	case "JSON":
		report, err = jsonLoad(body)
	case "BIN":
		report, err = binaryLoad(body)
	default:
		err = fmt.Errorf("format %.16q: TEXT, JSON and BIN are read", format)
	}
	if err != nil {
		return endpoint.LoadReport{}, fmt.Errorf("%s: %w", LoadField, err)
	}
	return report, nil
}

// ParseLoadBin reads the value of endpoint-load-metrics-bin: the protobuf
// xds.data.orca.v3.OrcaLoadReport in base64, padded or not, as gRPC carries
// binary metadata.
func ParseLoadBin[T ~string | ~[]byte](value T) (endpoint.LoadReport, error) {
	if len(value) > maxLoad {
		return endpoint.LoadReport{}, fmt.Errorf("%s: %d bytes, at most %d are read", LoadBinField, len(value), maxLoad)
	}
	report, err := binaryLoad(string(value))
	if err != nil {
		return endpoint.LoadReport{}, fmt.Errorf("%s: %w", LoadBinField, err)
	}
	return report, nil
}

// loadFields are the parts of a report that are used: their names in text, in
// JSON, and their numbers in OrcaLoadReport. rps, 3, is the older form of
// rps_fractional, an integer.
var loadFields = [...]struct {
	text, json string
	number     protowire.Number
	of         func(*endpoint.LoadReport) *float64
}{
	{"cpu_utilization", "cpuUtilization", 1, func(r *endpoint.LoadReport) *float64 { return &r.CPU }},
	{"mem_utilization", "memUtilization", 2, func(r *endpoint.LoadReport) *float64 { return &r.Memory }},
	{"rps_fractional", "rpsFractional", 6, func(r *endpoint.LoadReport) *float64 { return &r.RPS }},
	{"eps", "eps", 7, func(r *endpoint.LoadReport) *float64 { return &r.EPS }},
	{"application_utilization", "applicationUtilization", 9, func(r *endpoint.LoadReport) *float64 { return &r.Application }},
}

// set stores a value after a look at it: a balancer divides by it.
func set(at *float64, name string, v float64) error {
	if !(v >= 0) || v > math.MaxFloat32 {
		return fmt.Errorf("%s %v: want a number from 0 up", name, v)
	}
	*at = v
	return nil
}

func textLoad(body string) (r endpoint.LoadReport, err error) {
	for pair := range strings.SplitSeq(body, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return r, fmt.Errorf("%.32q: want NAME=NUMBER", pair)
		}
		name = strings.TrimSpace(name)
		for i := range loadFields {
			f := &loadFields[i]
			if name != f.text {
				continue
			}
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return r, fmt.Errorf("%s %.32q: want a number", name, value)
			}
			if err := set(f.of(&r), name, v); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

func jsonLoad(body string) (r endpoint.LoadReport, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &fields); err != nil {
		return r, fmt.Errorf("not a JSON object: %w", err)
	}
	for i := range loadFields {
		f := &loadFields[i]
		raw, ok := fields[f.text]
		if !ok {
			raw, ok = fields[f.json]
		}
		if !ok || string(raw) == "null" {
			continue
		}
		// Protobuf's JSON has numbers as numbers or as strings.
		v, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
		if err != nil {
			return r, fmt.Errorf("%s %.32s: want a number", f.text, raw)
		}
		if err := set(f.of(&r), f.text, v); err != nil {
			return r, err
		}
	}
	return r, nil
}

func binaryLoad(text string) (endpoint.LoadReport, error) {
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return endpoint.LoadReport{}, fmt.Errorf("not base64: %w", err)
	}
	return protoLoad(data)
}

var errProto = errors.New("not an xds.data.orca.v3.OrcaLoadReport")

// protoLoad reads an OrcaLoadReport; its other fields are skipped.
func protoLoad(data []byte) (r endpoint.LoadReport, err error) {
	const rps = 3
	older := 0.0
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return r, errProto
		}
		data = data[n:]
		size := protowire.ConsumeFieldValue(number, kind, data)
		if size < 0 {
			return r, errProto
		}
		switch kind {
		case protowire.Fixed64Type:
			bits, _ := protowire.ConsumeFixed64(data)
			for i := range loadFields {
				if f := &loadFields[i]; f.number == number {
					if err := set(f.of(&r), f.text, math.Float64frombits(bits)); err != nil {
						return r, err
					}
				}
			}
		case protowire.VarintType:
			if v, _ := protowire.ConsumeVarint(data); number == rps {
				older = float64(v)
			}
		}
		data = data[size:]
	}
	if r.RPS == 0 {
		r.RPS = older
	}
	return r, nil
}
