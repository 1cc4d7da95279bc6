package stats

import "strconv"

// ErrorType says why the proxy, and not the service, decided a call's outcome.
// Its string is fit for the attribute error.type: a proxy error type of
// RFC 9209 section 2.3, or one of ours, for which Registered has the nearest.
type ErrorType uint8

// The proxy error types of RFC 9209, in its order, and some of ours.
const (
	ErrNone ErrorType = iota
	ErrDNSTimeout
	ErrDNSError
	ErrDestinationNotFound
	ErrDestinationUnavailable
	ErrDestinationIPProhibited
	ErrDestinationIPUnroutable
	ErrConnectionRefused
	ErrConnectionTerminated
	ErrConnectionTimeout
	ErrConnectionReadTimeout
	ErrConnectionWriteTimeout
	ErrConnectionLimitReached
	ErrTLSProtocolError
	ErrTLSCertificateError
	ErrTLSAlertReceived
	ErrHTTPRequestError
	ErrHTTPRequestDenied
	ErrHTTPResponseIncomplete
	ErrHTTPResponseHeaderSectionSize
	ErrHTTPResponseHeaderSize
	ErrHTTPResponseBodySize
	ErrHTTPResponseTrailerSectionSize
	ErrHTTPResponseTrailerSize
	ErrHTTPResponseTransferCoding
	ErrHTTPResponseContentCoding
	ErrHTTPResponseTimeout
	ErrHTTPUpgradeFailed
	ErrHTTPProtocolError
	ErrProxyInternalResponse
	ErrProxyInternalError
	ErrProxyConfigurationError
	ErrProxyLoopDetected
	// ErrClientClosed is ours: the client went away before the answer, so
	// nobody is left to read a Proxy-Status.
	ErrClientClosed
	// ErrShed: the service, or what stands for it here, has too much to do.
	ErrShed
	// ErrRateLimited: the route's rate of calls was exceeded.
	ErrRateLimited
	// ErrFaultInjected: the route's policy has calls fail on purpose.
	ErrFaultInjected

	errorTypes
)

// errorTable holds the names and the recommended status codes; 0 where
// RFC 9209 leaves the code to the proxy.
var errorTable = [errorTypes]struct {
	name   string
	status int
}{
	ErrNone:                           {"", 0},
	ErrDNSTimeout:                     {"dns_timeout", 504},
	ErrDNSError:                       {"dns_error", 502},
	ErrDestinationNotFound:            {"destination_not_found", 500},
	ErrDestinationUnavailable:         {"destination_unavailable", 503},
	ErrDestinationIPProhibited:        {"destination_ip_prohibited", 502},
	ErrDestinationIPUnroutable:        {"destination_ip_unroutable", 502},
	ErrConnectionRefused:              {"connection_refused", 502},
	ErrConnectionTerminated:           {"connection_terminated", 502},
	ErrConnectionTimeout:              {"connection_timeout", 504},
	ErrConnectionReadTimeout:          {"connection_read_timeout", 504},
	ErrConnectionWriteTimeout:         {"connection_write_timeout", 504},
	ErrConnectionLimitReached:         {"connection_limit_reached", 503},
	ErrTLSProtocolError:               {"tls_protocol_error", 502},
	ErrTLSCertificateError:            {"tls_certificate_error", 502},
	ErrTLSAlertReceived:               {"tls_alert_received", 502},
	ErrHTTPRequestError:               {"http_request_error", 400},
	ErrHTTPRequestDenied:              {"http_request_denied", 403},
	ErrHTTPResponseIncomplete:         {"http_response_incomplete", 502},
	ErrHTTPResponseHeaderSectionSize:  {"http_response_header_section_size", 502},
	ErrHTTPResponseHeaderSize:         {"http_response_header_size", 502},
	ErrHTTPResponseBodySize:           {"http_response_body_size", 502},
	ErrHTTPResponseTrailerSectionSize: {"http_response_trailer_section_size", 502},
	ErrHTTPResponseTrailerSize:        {"http_response_trailer_size", 502},
	ErrHTTPResponseTransferCoding:     {"http_response_transfer_coding", 502},
	ErrHTTPResponseContentCoding:      {"http_response_content_coding", 502},
	ErrHTTPResponseTimeout:            {"http_response_timeout", 504},
	ErrHTTPUpgradeFailed:              {"http_upgrade_failed", 502},
	ErrHTTPProtocolError:              {"http_protocol_error", 502},
	ErrProxyInternalResponse:          {"proxy_internal_response", 0},
	ErrProxyInternalError:             {"proxy_internal_error", 500},
	ErrProxyConfigurationError:        {"proxy_configuration_error", 500},
	ErrProxyLoopDetected:              {"proxy_loop_detected", 502},
	ErrClientClosed:                   {"client_closed", 0},
	ErrShed:                           {"shed", 503},
	ErrRateLimited:                    {"rate_limited", 429},
	ErrFaultInjected:                  {"fault_injected", 0},
}

// registered are the types of RFC 9209 nearest to ours.
var registered = map[ErrorType]ErrorType{
	ErrShed:          ErrConnectionLimitReached,
	ErrRateLimited:   ErrHTTPRequestDenied,
	ErrFaultInjected: ErrProxyInternalResponse,
}

// Registered is the name for Proxy-Status, where only those of RFC 9209 may
// stand.
func (e ErrorType) Registered() string {
	if r, ok := registered[e]; ok {
		e = r
	}
	return e.String()
}

// String is the name in RFC 9209, or ours; empty for ErrNone.
func (e ErrorType) String() string {
	if e < errorTypes {
		return errorTable[e].name
	}
	return "error_type_" + strconv.Itoa(int(e))
}

// Status is the status code that RFC 9209 recommends for an answer that the
// proxy makes itself, 0 where it recommends none.
func (e ErrorType) Status() int {
	if e < errorTypes {
		return errorTable[e].status
	}
	return 0
}
