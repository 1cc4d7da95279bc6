package stats

import "strconv"

// grpcBase sets gRPC status codes apart from those of HTTP: wherever a status
// is an int, 1000 + code is the outcome of a gRPC call.
const grpcBase = 1000

// grpcOverHTTP is the HTTP status of every answer with a grpc-status.
const grpcOverHTTP = 200

// grpcUnknown is what a code that gRPC does not know counts as.
const grpcUnknown = 2

// grpcNames are the names of the codes that gRPC knows.
var grpcNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// GRPC is the status of a call whose answer carried a grpc-status. A code that
// gRPC does not know is UNKNOWN, as its clients have it.
func GRPC(code uint32) int {
	if code >= uint32(len(grpcNames)) {
		code = grpcUnknown
	}
	return grpcBase + int(code)
}

// GRPCCode is the gRPC code of a status, and false for a status of HTTP.
func GRPCCode(status int) (code uint32, ok bool) {
	if n := status - grpcBase; uint(n) < uint(len(grpcNames)) {
		return uint32(n), true
	}
	return 0, false
}

// GRPCName is the name of a code, such as "UNAVAILABLE": the value of the
// attribute rpc.response.status_code. It is the digits of one without a name.
func GRPCName(code uint32) string {
	if code < uint32(len(grpcNames)) {
		return grpcNames[code]
	}
	return strconv.FormatUint(uint64(code), 10)
}
