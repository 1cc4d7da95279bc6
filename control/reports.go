package control

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"

	"github.com/meshd/meshd/telemetry"
)

// reportWindow is what a connection may send before meshd reads it: twice a
// sidecar's report on 50 services with ten instances each, so that it comes in
// one go.
const reportWindow = 512 << 10

// reportOptions are what a grpc.Server that hundreds of sidecars report to
// should have. gRPC's own windows grow to 16 MiB a connection: where meshd has
// too little CPU, what waits in them was seen to take 5 GB.
func reportOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(telemetry.Codec()),
		grpc.StaticStreamWindowSize(reportWindow),
		grpc.StaticConnWindowSize(reportWindow),
		grpc.SharedWriteBuffer(true), // idle connections need none
		experimental.BufferPool(make(frames, 1024)),
	}
}

// frames keeps buffers for frames, as many as there is room for, where gRPC's
// own pool keeps as many as there ever were at a time for two rounds of the
// garbage collector, which are far apart here, and clears each before it is
// written to. It implements mem.BufferPool.
type frames chan *[]byte

var _ mem.BufferPool = frames(nil)

// frameSize is the largest frame that gRPC's clients send.
const frameSize = 16 << 10

// Get implements mem.BufferPool.
func (f frames) Get(n int) *[]byte {
	if n <= frameSize {
		select {
		case b := <-f:
			*b = (*b)[:n]
			return b
		default:
		}
	}
	b := make([]byte, n, max(n, frameSize))
	return &b
}

// Put implements mem.BufferPool.
func (f frames) Put(b *[]byte) {
	if cap(*b) != frameSize {
		return
	}
	select {
	case f <- b:
	default:
	}
}
