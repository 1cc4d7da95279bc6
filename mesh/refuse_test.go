package mesh

import (
	"strings"
	"testing"
)

const (
	svcHead    = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
	sliceHead  = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: a}}\n"
	policyHead = "apiVersion: meshd.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: a}\n"
	policySpec = policyHead + "spec:\n  targetRefs: [{kind: Service, name: b}]\n"
)

// refused are objects that are wrong, and what is said of them.
var refused = []struct{ in, want string }{
	{"3", `f:1: value "3": accepted is an object with apiVersion, kind and metadata`},
	{"[]", `f:1: a list: accepted is an object with apiVersion, kind and metadata`},
	{"a: 1", `f:1: kind: value "": accepted is Service (v1), EndpointSlice (discovery.k8s.io/v1), TrafficPolicy (meshd.io/v1alpha1), HTTPRoute or GRPCRoute (gateway.networking.k8s.io/v1), or List (v1)`},
	{"kind: Pod", `f:1: kind: value "Pod": accepted is Service (v1), EndpointSlice (discovery.k8s.io/v1), TrafficPolicy (meshd.io/v1alpha1), HTTPRoute or GRPCRoute (gateway.networking.k8s.io/v1), or List (v1)`},
	{"kind: List\nitems: [{kind: List}]", `f:2: kind: value "List": accepted is Service (v1), EndpointSlice (discovery.k8s.io/v1), TrafficPolicy (meshd.io/v1alpha1), HTTPRoute or GRPCRoute (gateway.networking.k8s.io/v1), or List (v1)`},
	{"kind: List\nitems: {}", `f:2: items: a mapping: accepted is a list`},
	{"kind: Service\napiVersion: v2\nmetadata: {name: a}", `f:2: Service default/a: apiVersion: value "v2": accepted is v1`},
	{"kind: Service\napiVersion: v1\nspec: {ports: [{port: 1}]}", `f:1: metadata.name: missing: accepted is a DNS label`},
	{"kind: Service\napiVersion: v1\nmetadata: {name: A}\nspec: {ports: [{port: 1}]}", `f:3: Service default/A: metadata.name: value "A": accepted is a DNS label`},
	{"kind: Service\napiVersion: v1\nmetadata: {name: 7}\nspec: {ports: [{port: 1}]}", `f:3: Service default/7: metadata.name: value "7": accepted is a DNS label`},
	{"kind: Service\napiVersion: v1\nmetadata: {name: a, labels: {b: 1}}\nspec: {ports: [{port: 1}]}", `f:3: Service default/a: metadata.labels.b: value "1": accepted is a string`},
	{"kind: Service\napiVersion: v1\nmetadata: {name: a, nmae: b}\nspec: {ports: [{port: 1}]}", `f:3: Service default/a: metadata.nmae: unknown field: accepted is annotations, creationTimestamp,`},

	{svcHead, `f:1: Service default/a: spec: missing: accepted is ports`},
	{svcHead + "spec: {}", `f:4: Service default/a: spec.ports: missing: accepted is at least one port`},
	{svcHead + "spec: 5", `f:4: Service default/a: spec: value "5": accepted is a mapping`},
	{svcHead + "spec: {ports: [{port: 80}], externalName: x}", `f:4: Service default/a: spec.externalName: unknown field: accepted is allocateLoadBalancerNodePorts,`},
	{svcHead + "spec: {ports: [{port: 80}], type: ExternalName}", `f:4: Service default/a: spec.type: value "ExternalName": accepted is ClusterIP, NodePort, LoadBalancer`},
	{svcHead + "spec: {ports: [{port: 80}], sessionAffinity: ClientIP}", `f:4: Service default/a: spec.sessionAffinity: value "ClientIP": accepted is None`},
	{svcHead + "spec:\n  ports:\n  - port: 80\n    prot: TCP", `f:7: Service default/a: spec.ports[0].prot: unknown field: accepted is appProtocol, name, nodePort, port, protocol, targetPort`},
	{svcHead + "spec: {ports: [{port: 80, port: 81}]}", `f:4: Service default/a: spec.ports[0].port: given twice: accepted is once`},
	{svcHead + "spec: {ports: [{port: \"80\"}]}", `f:4: Service default/a: spec.ports[0].port: value "80": accepted is a whole number from 1 to 65535`},
	{svcHead + "spec: {ports: [{port: 80, targetPort: 70000}]}", `f:4: Service default/a: spec.ports[0].targetPort: value "70000": accepted is a whole number from 1 to 65535, or the name of a port`},
	{svcHead + "spec: {ports: [{}]}", `f:4: Service default/a: spec.ports[0].port: missing: accepted is a whole number from 1 to 65535`},
	{svcHead + "spec: {ports: [{port: 1}, {port: 2}]}", `f:4: Service default/a: spec.ports[1].name: missing: accepted is a name for each of several ports`},
	{svcHead + "spec: {ports: [{port: 1, name: a}, {port: 2, name: a}]}", `f:4: Service default/a: spec.ports[1].name: value "a": another port has it`},
	{svcHead + "spec: {ports: [{port: 1, name: a}, {port: 1, name: b}]}", `f:4: Service default/a: spec.ports[1].port: value "1": another port has it`},

	{svcHead + "spec: {ports: [{port: 80, appProtocol: \"h2 c\"}]}", `f:4: Service default/a: spec.ports[0].appProtocol: value "h2 c": accepted is a word such as http, grpc, tcp or kubernetes.io/h2c`},
	{svcHead + "spec: {ports: [{port: 80, appProtocol: Example.com/x}]}", `f:4: Service default/a: spec.ports[0].appProtocol: value "Example.com/x": accepted is a word`},
	{svcHead + "spec: {clusterIP: checkout, ports: [{port: 80}]}", `f:4: Service default/a: spec.clusterIP: value "checkout": accepted is an IPv4 or IPv6 address of one host, or None`},
	{svcHead + "spec: {clusterIP: 0.0.0.0, ports: [{port: 80}]}", `f:4: Service default/a: spec.clusterIP: value "0.0.0.0": accepted is an IPv4 or IPv6 address of one host, or None`},
	{svcHead + "spec: {clusterIPs: [10.0.0.1, 10.0.0.1], ports: [{port: 80}]}", `f:4: Service default/a: spec.clusterIPs[1]: value "10.0.0.1" is given twice: accepted is each address once`},
	{svcHead + "spec: {clusterIPs: [10.0.0.1, 10.0.0.2, 10.0.0.3], ports: [{port: 80}]}", `f:4: Service default/a: spec.clusterIPs: a list of 3: accepted is at most 2`},
	{svcHead + "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2], ports: [{port: 80}]}", `f:4: Service default/a: spec.clusterIPs: does not begin with clusterIP: accepted is "10.0.0.1" first`},
	{svcHead + "spec: {clusterIP: None, clusterIPs: [10.0.0.2], ports: [{port: 80}]}", `f:4: Service default/a: spec.clusterIPs: does not begin with clusterIP: accepted is "None" first`},

	{sliceHead, `f:1: EndpointSlice default/a: addressType: missing: accepted is IPv4, IPv6`},
	{sliceHead + "addressType: FQDN", `f:4: EndpointSlice default/a: addressType: value "FQDN": accepted is IPv4, IPv6`},
	{sliceHead + "addressType: IPv4\nendpoints:\n- addresses: [\"::1\"]", `f:6: EndpointSlice default/a: endpoints[0].addresses[0]: value "::1": accepted is an IPv4 address`},
	{sliceHead + "addressType: IPv6\nendpoints:\n- addresses: [fe80::1%eth0]", `f:6: EndpointSlice default/a: endpoints[0].addresses[0]: value "fe80::1%eth0": accepted is an IPv6 address`},
	{sliceHead + "addressType: IPv4\nendpoints:\n- addresses: [0.0.0.0]", `f:6: EndpointSlice default/a: endpoints[0].addresses[0]: value "0.0.0.0": accepted is an IPv4 address of one host`},
	{sliceHead + "addressType: IPv6\nendpoints:\n- addresses: [\"::ffff:1.2.3.4\"]", `f:6: EndpointSlice default/a: endpoints[0].addresses[0]: value "::ffff:1.2.3.4": accepted is an IPv6 address of one host`},
	{sliceHead + "addressType: null", `f:1: EndpointSlice default/a: addressType: missing`},
	{svcHead + "spec: {ports: [{port: null}]}", `f:4: Service default/a: spec.ports[0].port: missing`},
	{sliceHead + "addressType: IPv4\nendpoints:\n- conditions: {ready: true}", `f:6: EndpointSlice default/a: endpoints[0].addresses: missing: accepted is at least one IP address`},
	{sliceHead + "addressType: IPv4\nendpoints:\n- addresses: [1.1.1.1]\n  conditions: {ready: yes}", `f:7: EndpointSlice default/a: endpoints[0].conditions.ready: value "yes": accepted is true or false`},
	{"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4", `f:3: EndpointSlice default/a: metadata.labels.kubernetes.io/service-name: missing: accepted is the name of a Service`},
	{"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: a\n  labels: {kubernetes.io/service-name: a}\n  annotations:\n    meshd.io/weight: \"0\"\naddressType: IPv4", `f:7: EndpointSlice default/a: metadata.annotations.meshd.io/weight: value "0": accepted is a whole number from "1" to "10000"`},
	{"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: a\n  labels: {kubernetes.io/service-name: a}\n  annotations:\n    meshd.io/priority: high\naddressType: IPv4", `f:7: EndpointSlice default/a: metadata.annotations.meshd.io/priority: value "high": accepted is a whole number from "0" to "127"`},

	{policyHead + "spec: {balancer: peak_ewma}", `f:4: TrafficPolicy default/a: spec.targetRefs: missing: accepted is at least one {kind: Service, name: NAME}`},
	{policyHead + "spec: {targetRefs: [{kind: Pod, name: b}]}", `f:4: TrafficPolicy default/a: spec.targetRefs[0].kind: value "Pod": accepted is Service`},
	{policyHead + "spec: {targetRefs: [{name: b}]}", `f:4: TrafficPolicy default/a: spec.targetRefs[0].kind: missing: accepted is Service`},
	{policyHead + "spec: {targetRefs: [{kind: Service, name: b}, {kind: Service, name: b}]}", `f:4: TrafficPolicy default/a: spec.targetRefs[1]: given twice: accepted is each target once`},
	{policySpec + "  balancer: fastest", `f:6: TrafficPolicy default/a: spec.balancer: value "fastest": accepted is peak_ewma, least_request, round_robin, weighted_round_robin, random, ring_hash, maglev, hcl`},
	{policySpec + "  balancer: maglev", `f:4: TrafficPolicy default/a: spec.hash.by: missing: accepted is at least one {header: NAME}, {cookie: {name: NAME}}, {query: NAME}, {sourceAddress: true} or {path: true}, since balancer is maglev`},
	{policySpec + "  hash: {by: []}", `f:6: TrafficPolicy default/a: spec.hash.by: an empty list: accepted is at least one source`},
	{policySpec + "  hash: {by: [{}]}", `f:6: TrafficPolicy default/a: spec.hash.by[0]: has 0 sources: accepted is exactly one of header, cookie, query, sourceAddress and path`},
	{policySpec + "  hash: {by: [{header: a, query: b}]}", `f:6: TrafficPolicy default/a: spec.hash.by[0]: has 2 sources: accepted is exactly one of`},
	{policySpec + "  hash: {by: [{header: \"a b\"}]}", `f:6: TrafficPolicy default/a: spec.hash.by[0].header: value "a b": accepted is the name of a header`},
	{policySpec + "  hash: {by: [{path: false}]}", `f:6: TrafficPolicy default/a: spec.hash.by[0].path: value "false": accepted is true, or to leave it out`},
	{policySpec + "  hash: {by: [{cookie: {ttl: 1h}}]}", `f:6: TrafficPolicy default/a: spec.hash.by[0].cookie.name: missing: accepted is the name of a cookie`},
	{policySpec + "  hash: {by: [{cookie: {name: a, path: b}}]}", `f:6: TrafficPolicy default/a: spec.hash.by[0].cookie.path: value "b": accepted is a path that begins with /`},
	{policySpec + "  hash: {loadFactor: 0.5}", `f:6: TrafficPolicy default/a: spec.hash.loadFactor: value "0.5": accepted is 0 (no bound), or a number from 1 to 100`},
	{policySpec + "  hash: {tableSize: 65536}", `f:6: TrafficPolicy default/a: spec.hash.tableSize: value "65536": accepted is a prime number, such as 65537`},
	{policySpec + "  hash: {ringSize: {min: 9, max: 8}}", `f:6: TrafficPolicy default/a: spec.hash.ringSize: min is above max: accepted is min up to max`},
	{policySpec + "  slowStart: {aggression: 0}", `f:6: TrafficPolicy default/a: spec.slowStart.aggression: value "0": accepted is a number from 0.01 to 100`},
	{policySpec + "  locality: {zoneAware: maybe}", `f:6: TrafficPolicy default/a: spec.locality.zoneAware: value "maybe": accepted is true or false`},
	{policySpec + "  panicThreshold: 50", `f:6: TrafficPolicy default/a: spec.panicThreshold: value "50": accepted is a number from 0 to 1`},
	{policySpec + "  subset: -1", `f:6: TrafficPolicy default/a: spec.subset: value "-1": accepted is a whole number from 0 to 100000`},
	{policySpec + "  reports: {update: 1ms}", `f:6: TrafficPolicy default/a: spec.reports.update: value "1ms": accepted is a duration from "100ms" to "1m"`},
	{policySpec + "  timeout: {request: 3}", `f:6: TrafficPolicy default/a: spec.timeout.request: value "3": accepted is a duration from "0s" to "24h", such as "250ms" or "1m30s"`},
	{policySpec + "  timeout: {request: -1s}", `f:6: TrafficPolicy default/a: spec.timeout.request: value "-1s": accepted is a duration from`},
	{policySpec + "  timeout:\n    request: 1s\n    attempt: 2s", `f:8: TrafficPolicy default/a: spec.timeout.attempt: value "2s": accepted is at most timeout.request, which is "1s"`},
	{policySpec + "  timeout: {connect: 0s}", `f:6: TrafficPolicy default/a: spec.timeout.connect: value "0s": accepted is a duration from "1ms" to "1m"`},
	{policySpec + "  retry: {backoff: {base: 1s, max: 1ms}}", `f:6: TrafficPolicy default/a: spec.retry.backoff.max: value "1ms": accepted is at least backoff.base, which is "1s"`},
	{policySpec + "  retry: {when: []}", `f:6: TrafficPolicy default/a: spec.retry.when: an empty list: accepted is some of connect-failure`},
	{policySpec + "  retry: {when: [500]}", `f:6: TrafficPolicy default/a: spec.retry.when[0]: value "500": accepted is connect-failure, refused-stream, reset, 502, 503, 504, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable`},
	{policySpec + "  retry: {attempts: 1.5}", `f:6: TrafficPolicy default/a: spec.retry.attempts: value "1.5": accepted is a whole number from 0 to 10`},
	{policySpec + "  retry: {budget: {ratio: 20}}", `f:6: TrafficPolicy default/a: spec.retry.budget.ratio: value "20": accepted is a number from 0 to 1`},
	{policySpec + "  retry: {budget: {ratio: .nan}}", `f:6: TrafficPolicy default/a: spec.retry.budget.ratio: value ".nan": accepted is a number from 0 to 1`},
	{policySpec + "  breaker: {consecutiveFailures: 0, errorRatio: 0}", `f:6: TrafficPolicy default/a: spec.breaker: consecutiveFailures and errorRatio are both 0`},
	{policySpec + "  limits: {requests: -1}", `f:6: TrafficPolicy default/a: spec.limits.requests: value "-1": accepted is a whole number from 0 to 1000000`},
	{policySpec + "  session: {}", `f:6: TrafficPolicy default/a: spec.session.cookie: missing: accepted is the name of a cookie`},
	{policySpec + "  session: {cookie: \"a b\"}", `f:6: TrafficPolicy default/a: spec.session.cookie: value "a b": accepted is the name of a cookie`},
	{policySpec + "  session: {cookie: a, path: \"/;\"}", `f:6: TrafficPolicy default/a: spec.session.path: value "/;": accepted is a path that begins with /, without a semicolon`},
	{policySpec + "  session: {cookie: a, ttl: 1500ms}", `f:6: TrafficPolicy default/a: spec.session.ttl: value "1500ms": accepted is whole seconds`},
	{policySpec + "  retry: {hedge: {share: 2}}", `f:6: TrafficPolicy default/a: spec.retry.hedge.share: value "2": accepted is a number from 0 to 1`},
	{policySpec + "  outlierDetection: {maxEjectionPercent: 0.5}", `f:6: TrafficPolicy default/a: spec.outlierDetection.maxEjectionPercent: value "0.5": accepted is a whole number from 0 to 100`},
	{policySpec + "  outlierDetection: {baseEjectionTime: 1m, maxEjectionTime: 1s}", `f:6: TrafficPolicy default/a: spec.outlierDetection.maxEjectionTime: value "1s": accepted is at least baseEjectionTime, which is "1m"`},
	{policySpec + "  outlierDetection: {latencyFactor: 0.5}", `f:6: TrafficPolicy default/a: spec.outlierDetection.latencyFactor: value "0.5": accepted is 0 (off), or a number above 1 up to 1000`},
	{policySpec + "  healthCheck: {}", `f:6: TrafficPolicy default/a: spec.healthCheck: says 0 of grpc, http and tcp: accepted is exactly one`},
	{policySpec + "  healthCheck: {tcp: {}, grpc: {}}", `f:6: TrafficPolicy default/a: spec.healthCheck: says 2 of grpc, http and tcp: accepted is exactly one`},
	{policySpec + "  healthCheck: {http: {}}", `f:6: TrafficPolicy default/a: spec.healthCheck.http.path: missing: accepted is a path that begins with /`},
	{policySpec + "  healthCheck: {http: {path: a}}", `f:6: TrafficPolicy default/a: spec.healthCheck.http.path: value "a": accepted is a path that begins with /, without blanks`},
	{policySpec + "  healthCheck: {http: {path: /, host: \"a b\"}}", `f:6: TrafficPolicy default/a: spec.healthCheck.http.host: value "a b": accepted is a host with or without a port`},
	{policySpec + "  healthCheck: {http: {path: /, expectedStatuses: [299-200]}}", `f:6: TrafficPolicy default/a: spec.healthCheck.http.expectedStatuses[0]: value "299-200": accepted is a status from 100 to 599, or a range such as 200-299`},
	{policySpec + "  healthCheck: {tcp: {}, interval: 0s}", `f:6: TrafficPolicy default/a: spec.healthCheck.interval: value "0s": accepted is a duration from "10ms" to "24h"`},
	{policySpec + "  limits: {sharedRequests: -1}", `f:6: TrafficPolicy default/a: spec.limits.sharedRequests: value "-1": accepted is a whole number from 0 to 1000000`},
	{policySpec + "  hold: {wait: 0s}", `f:6: TrafficPolicy default/a: spec.hold.wait: value "0s": accepted is a duration from "1ms" to "1h"`},
	{policySpec + "  admission: {min: 5, max: 4}", `f:6: TrafficPolicy default/a: spec.admission.max: value "4": accepted is 0 (no bound), or at least admission.min, which is 5`},
	{policySpec + "  priority: high", `f:6: TrafficPolicy default/a: spec.priority: value "high": accepted is sheddable, sheddable-plus, critical, critical-plus`},
	{policySpec + "  rateLimit: {per: 1s}", `f:6: TrafficPolicy default/a: spec.rateLimit.requests: missing: accepted is a whole number of calls`},
	{policySpec + "  rateLimit: {requests: 1, per: 1ms}", `f:6: TrafficPolicy default/a: spec.rateLimit.per: value "1ms": accepted is a duration from "50ms" to "24h"`},
	{policySpec + "  rateLimit: {requests: 1, scope: all}", `f:6: TrafficPolicy default/a: spec.rateLimit.scope: value "all": accepted is client, mesh`},
	{policySpec + "  fault: {}", `f:6: TrafficPolicy default/a: spec.fault.delay: missing: accepted is delay, abort or both`},
	{policySpec + "  fault: {delay: {duration: 1s}}", `f:6: TrafficPolicy default/a: spec.fault.delay.percent: missing: accepted is a number from 0 to 100`},
	{policySpec + "  fault: {delay: {percent: 1}}", `f:6: TrafficPolicy default/a: spec.fault.delay.duration: missing: accepted is a duration such as`},
	{policySpec + "  fault: {abort: {percent: 1}}", `f:6: TrafficPolicy default/a: spec.fault.abort: says 0 of grpcStatus and httpStatus: accepted is exactly one`},
	{policySpec + "  fault: {abort: {httpStatus: 503, grpcStatus: 14, percent: 1}}", `f:6: TrafficPolicy default/a: spec.fault.abort: says 2 of grpcStatus and httpStatus: accepted is exactly one`},
	{policySpec + "  fault: {abort: {grpcStatus: 17, percent: 1}}", `f:6: TrafficPolicy default/a: spec.fault.abort.grpcStatus: value "17": accepted is a whole number from 1 to 16`},
	{policySpec + "  fault: {abort: {httpStatus: 503, percent: 101}}", `f:6: TrafficPolicy default/a: spec.fault.abort.percent: value "101": accepted is a number from 0 to 100`},
	{policySpec + "  fault: {abort: {httpStatus: 503, percent: 1}, headers: [{name: a}]}", `f:6: TrafficPolicy default/a: spec.fault.headers[0]: says 0 of exact, prefix, present and regex: accepted is exactly one`},
	{policySpec + "  fault: {abort: {httpStatus: 503, percent: 1}, headers: [{exact: a}]}", `f:6: TrafficPolicy default/a: spec.fault.headers[0].name: missing: accepted is the name of a header`},
	{policySpec + "  fault: {abort: {httpStatus: 503, percent: 1}, headers: [{name: a, regex: \"(\"}]}", `f:6: TrafficPolicy default/a: spec.fault.headers[0].regex: value "(": accepted is a regular expression of RE2`},
	{policySpec + "  mirror: [{port: 80}]", `f:6: TrafficPolicy default/a: spec.mirror[0].service: missing: accepted is the name of a Service`},
	{policySpec + "  mirror: [{service: b}]", `f:6: TrafficPolicy default/a: spec.mirror[0].port: missing: accepted is a port of the Service`},
	{policySpec + "  mirror: [{service: b.c.d, port: 80}]", `f:6: TrafficPolicy default/a: spec.mirror[0].service: value "b.c.d": accepted is the name of a Service of the policy's namespace, or NAME.NAMESPACE`},
	{policySpec + "  mirror: [{service: b, port: 80}, {service: b.default, port: 80}]", `f:6: TrafficPolicy default/a: spec.mirror[1]: default/b:80 is given twice: accepted is each service once`},
	{policySpec + "  headers: {forwarded: yes}", `f:6: TrafficPolicy default/a: spec.headers.forwarded: value "yes": accepted is none, x-forwarded, rfc7239`},
	{policySpec + "  tracing: {ratio: 1.01}", `f:6: TrafficPolicy default/a: spec.tracing.ratio: value "1.01": accepted is a number from 0 to 1`},
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range refused {
		objects, errs := Parse("f", []byte(tt.in))
		if len(objects) != 0 || len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), tt.want) {
			t.Errorf("%s\n gives %d objects and %v\n want %s", tt.in, len(objects), errs, tt.want)
		}
	}
}
