package mesh

import (
	"strings"
)

const (
	grpcServiceForm = "the full name of a gRPC service, such as grpc.health.v1.Health"
	grpcMethodForm  = "the name of a gRPC method, such as Check"
)

func decodeGRPCRoute(meta Meta, root value) Object {
	r := &GRPCRoute{Meta: meta}
	r.Routing.decode(&r.Meta, root, func(rule *RouteRule) fields {
		return fields{
			"name":    text(&rule.Name, isName, nameForm),
			"matches": matches(rule, decodeGRPCMatch),
			"filters": r.decodeFilters(r.Namespace, rule),
		}
	})
	return r
}

// decodeGRPCMatch reads a match of a GRPCRoute as one of the path that a
// method has in HTTP: /SERVICE/METHOD, or what begins with /SERVICE.
func decodeGRPCMatch(v value, m *RouteMatch) {
	v.fields(fields{
		"method": func(v value) {
			var service, method string
			v.fields(fields{
				"type":    oneOf(new(string), "Exact"),
				"service": text(&service, isGRPCService, grpcServiceForm),
				"method":  text(&method, isGRPCName, grpcMethodForm),
			})
			if child(v.n, "service") == nil {
				v.missing("service", grpcServiceForm+"; method alone is not enough")
			}
			m.Path, m.Prefix = "/"+service, method == ""
			if method != "" {
				m.Path += "/" + method
			}
		},
		"headers": values(&m.Headers, isMatchedHeader, headerNameForm, strings.ToLower),
	})
}

// isGRPCService reports whether s is names of protobuf joined by dots.
func isGRPCService(s string) bool {
	if len(s) > maxPath {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isGRPCName(part) {
			return false
		}
	}
	return true
}

func isGRPCName(s string) bool {
	if len(s) == 0 || len(s) > maxPath || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}
