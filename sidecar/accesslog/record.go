package accesslog

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// The names of the events that a call and a connection are.
const (
	eventCall       = "meshd.call"
	eventConnection = "meshd.connection"
)

// A Recorder makes log records of OpenTelemetry of calls. Its Write may be
// called from any goroutine.
type Recorder struct {
	log        func(*tracing.LogRecord)
	attributes sync.Pool // *[]attribute.KeyValue, for one record each
}

// NewRecorder makes one that hands records to log, which must not keep them.
func NewRecorder(log func(*tracing.LogRecord)) *Recorder {
	return &Recorder{log: log, attributes: sync.Pool{New: func() any { a := make([]attribute.KeyValue, 0, 32); return &a }}}
}

// Write makes the record of a call. It neither blocks nor keeps the Entry.
func (r *Recorder) Write(e *call.Entry) {
	a := r.attributes.Get().(*[]attribute.KeyValue)
	*a = appendAttributes((*a)[:0], e)
	rec := tracing.LogRecord{
		Time: e.Time.Add(e.Took), Severity: tracing.SeverityInfo, Event: eventCall, Body: body(e), Context: e.Context, Attributes: *a,
	}
	if e.Failed {
		rec.Severity = tracing.SeverityError
	}
	if e.TCP {
		rec.Event = eventConnection
	}
	r.log(&rec)
	clear(*a)
	r.attributes.Put(a)
}

// body says it in a few words: "GET /items 503", "shop.v1.Cart/Add UNAVAILABLE".
func body(e *call.Entry) string {
	var b [256]byte
	out := b[:0]
	switch {
	case e.TCP:
		out = append(append(out, "TCP "...), e.Service...)
	case e.RPC:
		out = append(out, rpcMethod(e)...)
	default:
		out = append(out, e.Method[:min(len(e.Method), maxMethod)]...)
		out = append(append(out, ' '), e.Path[:min(len(e.Path), maxPath)]...)
	}
	if code, ok := stats.GRPCCode(e.Status); ok {
		out = append(append(out, ' '), stats.GRPCName(code)...)
	} else if e.Status != 0 {
		out = strconv.AppendInt(append(out, ' '), int64(e.Status), 10)
	}
	if e.Error != stats.ErrNone {
		out = append(append(out, ' '), e.Error.String()...)
	}
	return string(out)
}

func rpcMethod(e *call.Entry) string {
	return strings.TrimPrefix(e.Path[:min(len(e.Path), maxPath)], "/")
}

// appendAttributes has the names of the semantic conventions, and where they
// have none those of our spans.
func appendAttributes(a []attribute.KeyValue, e *call.Entry) []attribute.KeyValue {
	side := "client"
	if e.Inbound {
		side = "server"
	}
	a = append(a, tracing.MeshService.String(e.Service), tracing.MeshSide.String(side), tracing.MeshDuration.Float64(float64(e.Took.Microseconds())/1e3))
	switch {
	case e.TCP:
		a = append(a, tracing.NetworkTransport.String("tcp"), tracing.MeshSent.Int64(e.Sent), tracing.MeshReceived.Int64(e.Received))
	case e.RPC:
		a = append(a, tracing.RPCSystem.String("grpc"), tracing.RPCMethod.String(rpcMethod(e)))
	default:
		method, known := tracing.Method(e.Method)
		a = append(a, method)
		if !known {
			a = append(a, tracing.HTTPMethodOriginal.String(e.Method[:min(len(e.Method), maxMethod)]))
		}
		a = append(a, tracing.URLPath.String(e.Path[:min(len(e.Path), maxPath)]))
	}
	if code, ok := stats.GRPCCode(e.Status); ok {
		a = append(a, tracing.RPCStatus.String(stats.GRPCName(code)))
	} else if e.Status != 0 {
		a = append(a, tracing.HTTPStatus.Int(e.Status))
	}
	switch {
	case e.Error != stats.ErrNone:
		a = append(a, tracing.ErrorType.String(e.Error.String()))
	case e.Failed:
		if code, ok := stats.GRPCCode(e.Status); ok {
			a = append(a, tracing.ErrorType.String(stats.GRPCName(code)))
		} else {
			a = append(a, tracing.ErrorType.String(strconv.Itoa(e.Status)))
		}
	}
	text := func(key attribute.Key, value string) {
		if value != "" {
			a = append(a, key.String(value))
		}
	}
	text(tracing.MeshRoute, e.Route)
	text(tracing.NetworkVersion, e.Version)
	text(tracing.ClientAddress, e.Peer[:min(len(e.Peer), maxPeer)])
	text(tracing.MeshRefusal, e.Refusal)
	text(tracing.MeshEndpointID, e.Instance)
	text(tracing.MeshKept, e.Kept)
	if addr, err := netip.ParseAddrPort(e.Endpoint); err == nil {
		host := strings.Trim(e.Endpoint[:strings.LastIndexByte(e.Endpoint, ':')], "[]")
		a = append(a, tracing.NetworkPeerAddress.String(host), tracing.NetworkPeerPort.Int(int(addr.Port())))
	} else {
		text(tracing.NetworkPeerAddress, e.Endpoint)
	}
	if e.Attempts > 1 {
		a = append(a, tracing.HTTPResendCount.Int(e.Attempts-1))
	}
	for i, d := range e.Parts {
		if d > 0 {
			a = append(a, partKeys[i].Float64(float64(d.Microseconds())/1e3))
		}
	}
	return a
}

// partKeys are the attributes for the parts of a call's time, as on spans.
var partKeys = [stats.Parts]attribute.Key{
	stats.PartHeld: tracing.MeshHeld, stats.PartConnect: tracing.MeshConnect, stats.PartRetried: tracing.MeshRetried,
	stats.PartQueued: tracing.MeshQueued, stats.PartDownstream: tracing.MeshDownstream,
}
