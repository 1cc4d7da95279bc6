package grpc

import "github.com/meshd/meshd/sidecar/stats"

// The codes of gRPC (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
const (
	OK uint32 = iota
	Cancelled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated

	known // how many there are
)

// Name is a code's name, such as "UNAVAILABLE", or its digits where it has none.
func Name(code uint32) string { return stats.GRPCName(code) }

// ParseStatus reads the value of grpc-status: decimal digits, at most 2^32-1
// and ten of them. It is to be passed on as it came, known or not; what it
// means for the call is stats.GRPC(code). Where ok is false the status is
// Unknown, as gRPC's clients have it.
func ParseStatus[T ~string | ~[]byte](s T) (code uint32, ok bool) {
	if len(s) == 0 || len(s) > 10 {
		return Unknown, false
	}
	n := uint64(0)
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return Unknown, false
		}
		n = n*10 + uint64(c-'0')
	}
	if n > 1<<32-1 {
		return Unknown, false
	}
	return uint32(n), true
}

// Outcome is the status by which a gRPC call counts, in call.Call and in the
// metrics, once its answer has ended: with the HTTP status of its head and the
// grpc-status of its trailers, or of its head if it has no more, or "". An
// answer with another HTTP status than 200 and without a grpc-status is not
// gRPC's, such as another proxy's, and counts by its HTTP status; 200 without
// one is UNKNOWN, as what is cut short is to clients.
func Outcome[T ~string | ~[]byte](httpStatus int, grpcStatus T) int {
	if len(grpcStatus) == 0 && httpStatus != 200 {
		return httpStatus
	}
	code, _ := ParseStatus(grpcStatus)
	return stats.GRPC(code)
}

// verdicts say what a code tells of the endpoint. A failure counts against its
// breaker and its price: it could not serve, as against a call that is not to
// be served. They are those of Envoy's outlier detection, which counts the
// codes that stand for HTTP 5xx, less UNIMPLEMENTED, as HTTP's 501 is here; and
// those of Linkerd, less PERMISSION_DENIED. UNKNOWN is what a handler's plain
// error or exception becomes, like HTTP's 500. RESOURCE_EXHAUSTED is a limit of
// the caller's as often as of the endpoint's, like 429.
var verdicts = [known]struct {
	failure bool
	retry   bool
	reason  stats.RetryReason
}{
	Cancelled:         {retry: true, reason: stats.RetryCancelled},
	Unknown:           {failure: true},
	DeadlineExceeded:  {failure: true, retry: true, reason: stats.RetryDeadlineExceeded},
	ResourceExhausted: {retry: true, reason: stats.RetryResourceExhausted},
	Internal:          {failure: true, retry: true, reason: stats.RetryInternal},
	Unavailable:       {failure: true, retry: true, reason: stats.RetryUnavailable},
	DataLoss:          {failure: true},
}

// Failure reports whether a code counts against the endpoint that sent it. A
// code that gRPC does not know is Unknown.
func Failure(code uint32) bool {
	if code >= known {
		code = Unknown
	}
	return verdicts[code].failure
}

// RetryReason is the reason for which a call that ended with this code may be
// tried again, if the route's policy has it among its own.
func RetryReason(code uint32) (stats.RetryReason, bool) {
	if code >= known {
		return 0, false
	}
	return verdicts[code].reason, verdicts[code].retry
}

// FromHTTP is the code of an answer without a grpc-status
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func FromHTTP(status int) uint32 {
	switch status {
	case 400:
		return Internal
	case 401:
		return Unauthenticated
	case 403:
		return PermissionDenied
	case 404:
		return Unimplemented
	case 429, 502, 503, 504:
		return Unavailable
	}
	return Unknown
}

// ToHTTP is the status of an HTTP answer that stands for a code, by
// google.rpc.Code (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto).
func ToHTTP(code uint32) int {
	switch code {
	case OK:
		return 200
	case InvalidArgument, FailedPrecondition, OutOfRange:
		return 400
	case Unauthenticated:
		return 401
	case PermissionDenied:
		return 403
	case NotFound:
		return 404
	case AlreadyExists, Aborted:
		return 409
	case ResourceExhausted:
		return 429
	case Cancelled:
		return 499
	case Unimplemented:
		return 501
	case Unavailable:
		return 503
	case DeadlineExceeded:
		return 504
	}
	return 500
}

// FromProxyError is the grpc-status of an answer that the proxy makes itself,
// where an HTTP call would get httpStatus. It is FromHTTP, as with Envoy (a
// limit reached is UNAVAILABLE, no route UNIMPLEMENTED), but where gRPC has a
// better word. So what was shed or came too often for a rate (503, 429) is
// UNAVAILABLE too: RESOURCE_EXHAUSTED would be taken for the server's own word.
// UNAVAILABLE is what clients try again by themselves, so it is
// not said of what would only happen again.
func FromProxyError(e stats.ErrorType, httpStatus int) uint32 {
	switch e {
	case stats.ErrHTTPResponseTimeout:
		return DeadlineExceeded
	case stats.ErrClientClosed:
		return Cancelled
	case stats.ErrHTTPResponseHeaderSectionSize, stats.ErrHTTPResponseHeaderSize, stats.ErrHTTPResponseBodySize,
		stats.ErrHTTPResponseTrailerSectionSize, stats.ErrHTTPResponseTrailerSize,
		stats.ErrProxyInternalError, stats.ErrProxyLoopDetected:
		return Internal
	case stats.ErrProxyConfigurationError:
		return Unavailable // until the next configuration
	}
	switch httpStatus {
	case 408: // the client was too slow with its request
		return DeadlineExceeded
	case 413, 431:
		return ResourceExhausted
	}
	code := FromHTTP(httpStatus)
	if code == Unknown && e != stats.ErrNone {
		code = Internal // that the proxy knows
	}
	return code
}
