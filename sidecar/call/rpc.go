package call

import (
	"strings"

	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/tracing"
)

// The spans of gRPC calls, by OpenTelemetry's conventions for RPC and for gRPC:
// https://opentelemetry.io/docs/specs/semconv/rpc/grpc/.

// rpcName is the name of a gRPC call's span, "package.Service/Method".
func rpcName(path string) string {
	if method := strings.TrimPrefix(path, "/"); method != "" {
		return method
	}
	return "grpc"
}

// rpcAttributes take the place of method and URL. Which methods there are a
// proxy does not know, so none is "_OTHER".
func rpcAttributes(attrs *tracing.Attributes, path string) {
	attrs.String(tracing.RPCSystem, "grpc")
	attrs.String(tracing.RPCMethod, strings.TrimPrefix(path, "/"))
}

// rpcFailed says which codes are errors: on a client's span all but OK, on a
// server's those that are not the caller's doing.
func rpcFailed(code uint32, server bool) bool {
	if !server {
		return code != grpc.OK
	}
	switch code {
	case grpc.Unknown, grpc.DeadlineExceeded, grpc.Unimplemented, grpc.Internal, grpc.Unavailable, grpc.DataLoss:
		return true
	}
	return false
}
