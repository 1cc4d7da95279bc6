// Package grpc is what gRPC adds to HTTP/2, as pure functions: which calls are
// gRPC, their timeouts, statuses and messages
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), and the
// load reports that endpoints send with their answers. It does no I/O, keeps
// no state, and its functions may be called from any goroutine.
package grpc

// The fields of gRPC, as HTTP/2 has them.
const (
	TimeoutField = "grpc-timeout"
	StatusField  = "grpc-status"
	MessageField = "grpc-message"
	// ContentType is that of answers that the proxy makes itself.
	ContentType = "application/grpc"
)

// IsGRPC reports whether a message with this Content-Type is gRPC:
// "application/grpc", with "+proto" or another format and with parameters, and
// not gRPC-Web.
func IsGRPC[T ~string | ~[]byte](contentType T) bool {
	if len(contentType) < len(ContentType) {
		return false
	}
	for i := range len(ContentType) {
		c := contentType[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != ContentType[i] {
			return false
		}
	}
	if len(contentType) == len(ContentType) {
		return true
	}
	switch contentType[len(ContentType)] {
	case '+', ';', ' ', '\t':
		return true
	}
	return false
}
