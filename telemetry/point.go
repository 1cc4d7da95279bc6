package telemetry

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// A point is a NumberDataPoint, an ExponentialHistogramDataPoint or a
// HistogramDataPoint. Its slices
// are of the request that it was read from.
type point struct {
	raw           []byte
	attributesTag uint64 // of raw
	key           uint64 // of its attributes, in any order
	start, time   uint64 // ns
	delta         bool   // the value is of start..time only
	nothing       bool   // NO_RECORDED_VALUE is set
	value         float64

	// Of histograms.
	isHistogram bool
	count       uint64
	seconds     float64
	scale       int32
	zero        uint64
	offset      int32
	counts      []uint64
	tooMany     int    // buckets, if more than can be
	wrong       string // what is, of explicit buckets
	exemplars   [][]byte
}

// maxCounts is more buckets than any SDK sends.
const maxCounts = 4096

// read makes p the data point of these bytes.
func (p *point) read(raw []byte, seed maphash.Seed, isHistogram bool) bool {
	*p = point{raw: raw, isHistogram: isHistogram, counts: p.counts[:0], exemplars: p.exemplars[:0]}
	f := fields{rest: raw}
	if !isHistogram {
		for f.next() {
			switch f.tag {
			case fixedTag(2):
				p.start = f.value
			case fixedTag(3):
				p.time = f.value
			case fixedTag(4):
				p.value = f.float()
			case fixedTag(6):
				p.value = float64(int64(f.value))
			case bytesTag(7):
				p.key += maphash.Bytes(seed, f.bytes)
			case varintTag(8):
				p.nothing = f.value&1 != 0
			}
		}
		return !f.bad
	}
	for f.next() {
		switch f.tag {
		case bytesTag(1):
			p.key += maphash.Bytes(seed, f.bytes)
		case fixedTag(2):
			p.start = f.value
		case fixedTag(3):
			p.time = f.value
		case fixedTag(4):
			p.count = f.value
		case fixedTag(5):
			p.seconds = f.float()
		case varintTag(6):
			p.scale = int32(protowire.DecodeZigZag(f.value))
		case fixedTag(7):
			p.zero = min(p.zero+min(f.value, maxValue), maxValue)
		case bytesTag(8):
			if !p.readBuckets(f.bytes) {
				return false
			}
		case bytesTag(9): // values below zero, which no duration has, count as zero
			if !p.readNegative(f.bytes) {
				return false
			}
		case varintTag(10):
			p.nothing = f.value&1 != 0
		case bytesTag(11):
			p.exemplars = append(p.exemplars, f.bytes)
		}
	}
	return !f.bad
}

func (p *point) readNegative(raw []byte) bool {
	keep, offset, many := len(p.counts), p.offset, p.tooMany
	ok := p.readBuckets(raw)
	for _, n := range p.counts[keep:] {
		p.zero = min(p.zero+n, maxValue)
	}
	p.counts, p.offset, p.tooMany = p.counts[:keep], offset, max(many, p.tooMany)
	return ok
}

// readBuckets reads a Buckets message; its counts are packed or one by one.
func (p *point) readBuckets(raw []byte) bool {
	f := fields{rest: raw}
	for f.next() {
		switch f.tag {
		case varintTag(1):
			p.offset = int32(protowire.DecodeZigZag(f.value))
		case varintTag(2):
			p.bucket(f.value)
		case bytesTag(2):
			packed := fields{rest: f.bytes}
			for len(packed.rest) > 0 {
				n, ok := packed.varint()
				if !ok {
					return false
				}
				p.bucket(n)
			}
		}
	}
	return !f.bad
}

func (p *point) bucket(n uint64) {
	if len(p.counts) < maxCounts {
		p.counts = append(p.counts, min(n, maxValue))
	} else {
		p.tooMany++
	}
}

// check says what is wrong with the point's value.
func (p *point) check() error {
	if p.time == 0 {
		return errTime
	}
	if !p.isHistogram {
		if !finite(p.value) {
			return fmt.Errorf("value %v: want a finite number, at most %g", p.value, float64(maxValue))
		}
		return nil
	}
	const minScale, maxScale = -10, 20 // of the OpenTelemetry specification
	if p.scale < minScale || p.scale > maxScale {
		return fmt.Errorf("scale %d: want %d to %d", p.scale, minScale, maxScale)
	}
	if p.wrong != "" {
		return errors.New(p.wrong)
	}
	if p.tooMany > 0 {
		return fmt.Errorf("%d buckets: want at most %d", len(p.counts)+p.tooMany, maxCounts)
	}
	if !(p.seconds >= 0 && p.seconds <= maxValue) {
		p.seconds = 0 // nonsense, or none: a sum is optional
	}
	return nil
}

// exemplar reads an Exemplar.
func exemplar(raw []byte) (time uint64, value float64, trace []byte) {
	f := fields{rest: raw}
	for f.next() {
		switch f.tag {
		case fixedTag(2):
			time = f.value
		case fixedTag(3):
			value = f.float()
		case fixedTag(6):
			value = float64(int64(f.value))
		case bytesTag(5):
			trace = f.bytes
		}
	}
	return time, value, trace
}

// attributes are those of a new series that mean something here.
type attributes struct {
	service, errorType string
	status             int64  // of HTTP. 0: none; -1: not a number
	grpc               string // the name of a gRPC status
	address, id        string // of an endpoint
	word               string // meshd.call.part, meshd.health.rule, meshd.breaker.rule
}

// maxText bounds the length of an attribute.
const maxText = 1024

// attributes reads a point's.
func (p *point) attributes() (a attributes, err error) {
	f := fields{rest: p.raw}
	for f.next() {
		if f.tag != p.attributesTag {
			continue
		}
		key, value, ok := keyValue(f.bytes)
		if !ok {
			return a, errWire
		}
		if len(key) > maxText || len(value) > maxText {
			return a, fmt.Errorf("attribute longer than %d bytes", maxText)
		}
		word := text(value)
		if !utf8.Valid(word) {
			return a, fmt.Errorf("attribute %q is not UTF-8", key)
		}
		switch string(key) {
		case "meshd.service":
			a.service = string(word)
		case "http.response.status_code":
			a.status = statusCode(value)
		case "rpc.response.status_code":
			a.grpc = string(word)
		case "error.type":
			a.errorType = string(word)
		case "meshd.endpoint":
			a.address = string(word)
		case "meshd.endpoint.id":
			a.id = string(word)
		case "meshd.call.part", "meshd.health.rule", "meshd.breaker.rule":
			a.word = string(word)
		}
	}
	return a, nil
}

// failed says whether the calls with these attributes count as failed.
func (a *attributes) failed() bool {
	return a.errorType != "" || a.status >= 500 || failedGRPC(a.grpc)
}

// failedGRPC is for gRPC what 500 and up is for HTTP: the codes that
// OpenTelemetry's conventions have as an error on a server's span.
func failedGRPC(code string) bool {
	switch code {
	case "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS":
		return true
	}
	return false
}

// statusCode reads a status code, which comes as a number or as text, from an
// AnyValue.
func statusCode(value []byte) int64 {
	f := fields{rest: value}
	for f.next() {
		switch f.tag {
		case bytesTag(1):
			n, err := strconv.ParseInt(string(f.bytes), 10, 64)
			if err != nil {
				return -1
			}
			return n
		case varintTag(3):
			return int64(f.value)
		case fixedTag(4):
			if v := f.float(); v == math.Trunc(v) && finite(v) {
				return int64(v)
			}
			return -1
		}
	}
	return 0
}
