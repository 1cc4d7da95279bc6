package control

import (
	"google.golang.org/grpc"

	"github.com/meshd/meshd/telemetry"
)

// reportWindow is what a connection may send before meshd reads it: twice a
// sidecar's first report on 50 services with ten instances each, so that it comes
// in one go; later ones are shorter.
const reportWindow = 512 << 10

// reportOptions are what a grpc.Server that hundreds of sidecars report to
// should have. gRPC's own windows grow to 16 MiB a connection: where meshd has
// too little CPU, what waits in them was seen to take 5 GB.
func reportOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(telemetry.Codec()),
		grpc.StaticStreamWindowSize(reportWindow),
		grpc.StaticConnWindowSize(reportWindow),
		grpc.ReadBufferSize(4 << 10), // and not 16 MB for 500 connections
	}
}
