package tracing

import (
	"sync/atomic"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A handover is gRPC's codec for messages of protobuf, but for one: a request
// with a queue's spans, which are bytes already, goes out without a copy of
// them. It counts those that gRPC has not given back yet, as it may for long
// after a call that timed out.
type handover struct {
	encoding.CodecV2
	out atomic.Int64
}

func newHandover() *handover { return &handover{CodecV2: encoding.GetCodecV2("proto")} }

// option makes a connection use it.
func (h *handover) option() grpc.DialOption {
	return grpc.WithDefaultCallOptions(grpc.ForceCodecV2(h))
}

// busy says whether spans are on their way still.
func (h *handover) busy() bool { return h.out.Load() != 0 }

// Name is none, so that calls say "application/grpc", as they do without a
// codec of their own.
func (h *handover) Name() string { return "" }

// leastHandedOver is how many bytes of spans are not copied: gRPC gives back
// none of a buffer that it takes for small.
const leastHandedOver = 16 << 10

// Marshal is the codec's.
func (h *handover) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(*coltracepb.ExportTraceServiceRequest)
	if !ok || len(r.ResourceSpans) != 1 || len(r.ResourceSpans[0].ScopeSpans) != 1 {
		return h.CodecV2.Marshal(v)
	}
	from := r.ResourceSpans[0]
	scope := from.ScopeSpans[0]
	spans := []byte(scope.ProtoReflect().GetUnknown()) // see startQueue
	if len(spans) < leastHandedOver || len(scope.Spans) > 0 || scope.SchemaUrl != "" {
		return h.CodecV2.Marshal(v)
	}
	resource, err := proto.Marshal(from.Resource)
	if err != nil {
		return nil, err
	}
	name, err := proto.Marshal(scope.Scope)
	if err != nil {
		return nil, err
	}
	// ExportTraceServiceRequest{ResourceSpans{Resource, ScopeSpans{Scope, spans}, SchemaUrl}}.
	inScope := protowire.SizeTag(1) + protowire.SizeBytes(len(name)) + len(spans)
	var after []byte
	if from.SchemaUrl != "" {
		after = protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), from.SchemaUrl)
	}
	inResource := protowire.SizeTag(1) + protowire.SizeBytes(len(resource)) + protowire.SizeTag(2) + protowire.SizeBytes(inScope) + len(after)
	before := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.BytesType), uint64(inResource))
	before = protowire.AppendBytes(protowire.AppendTag(before, 1, protowire.BytesType), resource)
	before = protowire.AppendVarint(protowire.AppendTag(before, 2, protowire.BytesType), uint64(inScope))
	before = protowire.AppendBytes(protowire.AppendTag(before, 1, protowire.BytesType), name)
	h.out.Add(1)
	all := mem.BufferSlice{mem.SliceBuffer(before), mem.NewBuffer(&spans, (*returned)(h))}
	if len(after) > 0 {
		all = append(all, mem.SliceBuffer(after))
	}
	return all, nil
}

// returned is the pool that gRPC thinks spans are of.
type returned handover

func (p *returned) Get(n int) *[]byte { return mem.DefaultBufferPool().Get(n) }
func (p *returned) Put(*[]byte)       { p.out.Add(-1) }
