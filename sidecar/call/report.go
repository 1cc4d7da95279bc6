package call

import (
	"bytes"
	"strconv"

	"github.com/meshd/meshd/sidecar/protocol/grpc"
)

// The server-side sidecar says on its answers how many calls its application
// has, with those that wait for it, and how long this one has waited: an ORCA
// report in text (endpoint-load-metrics, gRFC A51), which costs the application
// nothing and any client of ORCA can read.
const (
	inflightMetric = "TEXT named_metrics.meshd_inflight="
	queueMetric    = ",named_metrics.meshd_queue_ms="
)

// AppendLoad appends the value of grpc.LoadField that the answer to an inbound
// call is to have; it reports false where there is none.
func (c *Call) AppendLoad(dst []byte) ([]byte, bool) {
	if c.Route.Gate == nil {
		return dst, false
	}
	n, ok := c.Route.Gate.InFlight()
	if !ok {
		return dst, false
	}
	dst = append(dst, inflightMetric...)
	dst = strconv.AppendInt(dst, n, 10)
	dst = append(dst, queueMetric...)
	us := c.queued / 1000
	dst = strconv.AppendInt(dst, us/1000, 10)
	if us%1000 != 0 {
		dst = append(dst, '.', '0'+byte(us/100%10), '0'+byte(us/10%10), '0'+byte(us%10))
	}
	return dst, true
}

// TakeLoad takes the value of grpc.LoadField (or LoadBinField, with bin) on an
// answer of the attempt's endpoint. ours says that a sidecar of ours has made
// it: it is not for the caller.
func (c *Call) TakeLoad(value []byte, bin bool, now int64) (ours bool) {
	ep := c.Endpoint()
	if !bin {
		if inflight, queue, ok := parseOwn(value); ok {
			ep.Reported.SetOwn(now, inflight, queue)
			return true
		}
	}
	parse := grpc.ParseLoad[[]byte]
	if bin {
		parse = grpc.ParseLoadBin[[]byte]
	}
	if load, err := parse(value); err == nil {
		ep.Reported.Set(now, load)
	}
	return false
}

// parseOwn reads what AppendLoad writes; the time is in ns.
func parseOwn(v []byte) (inflight, queue int64, ok bool) {
	v, ok = bytes.CutPrefix(v, []byte(inflightMetric))
	if !ok {
		return 0, 0, false
	}
	n, rest, ok := bytes.Cut(v, []byte(queueMetric))
	if !ok || len(n) == 0 || len(n) > 9 || len(rest) == 0 || len(rest) > 16 {
		return 0, 0, false
	}
	for _, b := range n {
		if b < '0' || b > '9' {
			return 0, 0, false
		}
		inflight = inflight*10 + int64(b-'0')
	}
	scale := int64(0) // of the next digit after the point
	fine := false     // what follows is less than 1 ns
	for _, b := range rest {
		switch {
		case b == '.' && scale == 0 && !fine:
			scale = 100_000
		case b < '0' || b > '9':
			return 0, 0, false
		case fine:
		case scale > 0:
			queue += int64(b-'0') * scale
			scale /= 10
			fine = scale == 0
		case queue > 1e15:
			return 0, 0, false
		default:
			queue = queue*10 + int64(b-'0')*1e6
		}
	}
	return inflight, queue, true
}
