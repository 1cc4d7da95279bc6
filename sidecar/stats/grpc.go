package stats

// grpcBase sets gRPC status codes apart from those of HTTP: wherever a status
// is an int, 1000 + code is the outcome of a gRPC call.
const grpcBase = 1000

// GRPC is the status of a call whose answer carried a grpc-status.
func GRPC(code uint32) int { return grpcBase + int(min(code, 999)) }

// GRPCCode is the gRPC code of a status, and false for a status of HTTP.
func GRPCCode(status int) (code uint32, ok bool) {
	if status < grpcBase {
		return 0, false
	}
	return uint32(status - grpcBase), true
}
