package tracing

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// The attributes of a proxy's HTTP spans, by OpenTelemetry's semantic
// conventions. Use them as in HTTPStatus.Int(200).
const (
	HTTPMethod         = semconv.HTTPRequestMethodKey
	HTTPMethodOriginal = semconv.HTTPRequestMethodOriginalKey
	HTTPStatus         = semconv.HTTPResponseStatusCodeKey
	HTTPRoute          = semconv.HTTPRouteKey
	HTTPResendCount    = semconv.HTTPRequestResendCountKey
	URLScheme          = semconv.URLSchemeKey
	URLPath            = semconv.URLPathKey
	URLQuery           = semconv.URLQueryKey
	URLFull            = semconv.URLFullKey
	ServerAddress      = semconv.ServerAddressKey
	ServerPort         = semconv.ServerPortKey
	ClientAddress      = semconv.ClientAddressKey
	ClientPort         = semconv.ClientPortKey
	NetworkPeerAddress = semconv.NetworkPeerAddressKey
	NetworkPeerPort    = semconv.NetworkPeerPortKey
	NetworkTransport   = semconv.NetworkTransportKey       // "tcp"
	NetworkVersion     = semconv.NetworkProtocolVersionKey // "1.1", "2"
	UserAgent          = semconv.UserAgentOriginalKey
	ErrorType          = semconv.ErrorTypeKey

	// RPCSystem ("grpc"), RPCMethod ("package.Service/Method") and RPCStatus
	// ("OK", "UNAVAILABLE") describe a gRPC call.
	RPCSystem = semconv.RPCSystemNameKey
	RPCMethod = semconv.RPCMethodKey
	RPCStatus = semconv.RPCResponseStatusCodeKey
)

// The attributes of our own.
const (
	MeshService     = attribute.Key("meshd.service")     // "default/checkout:8080"
	MeshRoute       = attribute.Key("meshd.route")       // the route's name
	MeshEndpointID  = attribute.Key("meshd.endpoint.id") // the instance's name
	MeshSent        = attribute.Key("meshd.bytes.sent")  // of a connection, to its service; of a server's, to its caller
	MeshReceived    = attribute.Key("meshd.bytes.received")
	MeshRetryReason = attribute.Key("meshd.retry.reason") // as in the metric meshd.client.retries

	// What a call's sidecar has decided, and on what grounds; times are in ms.
	MeshBalancer   = attribute.Key("meshd.balancer")      // the policy that chose the endpoint
	MeshCost       = attribute.Key("meshd.endpoint.cost") // of the endpoint when it was chosen, ms
	MeshVersion    = attribute.Key("meshd.route.version") // of the route's configuration
	MeshHedge      = attribute.Key("meshd.hedge")         // the attempt was made beside another one
	MeshHeld       = attribute.Key("meshd.held_ms")       // waited for an endpoint
	MeshConnect    = attribute.Key("meshd.connect_ms")    // waited for a connection
	MeshRetried    = attribute.Key("meshd.retried_ms")    // attempts that came to nothing, and between them
	MeshQueued     = attribute.Key("meshd.queued_ms")     // waited before the application
	MeshDownstream = attribute.Key("meshd.downstream_ms") // calls that the application made for this one
	MeshPriority   = attribute.Key("meshd.priority")      // as in the header meshd-priority
	MeshRefusal    = attribute.Key("meshd.refusal")       // why the call was not made

	// Of calls that were kept for what became of them.
	MeshDeadline   = attribute.Key("meshd.deadline_ms") // since the call's start
	MeshSession    = attribute.Key("meshd.session")     // the instance that the session was with
	MeshNotes      = attribute.Key("meshd.notes")       // why it was not tried again, or not hedged
	MeshBudget     = attribute.Key("meshd.budget")      // retries that could be paid for at the end
	MeshCandidates = attribute.Key("meshd.candidates")  // the endpoints, as they were in the end

	// Of log records, which have no duration of their own.
	MeshDuration = attribute.Key("meshd.duration_ms")
	MeshSide     = attribute.Key("meshd.side") // "client", "server"
	MeshKept     = attribute.Key("meshd.kept") // error, slow, sampled or joined
)

// Method returns the attribute http.request.method: the method where RFC 9110,
// RFC 5789 (PATCH) or the QUERY method's draft defines it, else "_OTHER", so
// that a caller cannot invent values without end. known is false then, and
// HTTPMethodOriginal should say what it was.
func Method(method string) (kv attribute.KeyValue, known bool) {
	if knownMethod(method) {
		return HTTPMethod.String(method), true
	}
	return HTTPMethod.String("_OTHER"), false
}

func knownMethod(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return true
	}
	return false
}

// SpanName is the name of an HTTP span, "GET /orders" or, without a route,
// "GET". The route is a name of few values, never the path. A method that is
// not known counts as "HTTP".
func SpanName(method, route string) string {
	if !knownMethod(method) {
		method = "HTTP"
	}
	if route == "" {
		return method
	}
	return method + " " + route
}
