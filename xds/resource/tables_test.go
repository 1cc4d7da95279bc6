package resource

import (
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tables are all messages that are looked into.
var tables = []*message{
	&listenerFields, &apiListenerFields, &hcmFields, &rdsFields, &httpFilterFields,
	&routeConfigFields, &virtualHostFields, &routeFields, &routeMatchFields, &routeActionFields,
	&directResponseFields, &headerMatcherFields, &stringMatcherFields, &regexFields, &queryMatcherFields,
	&mirrorFields, &runtimeFractionFields, &fractionFields, &maxStreamFields, &weightedFields, &clusterWeightFields, &retryFields, &backOffFields, &predicateFields,
	&filterWrapFields, &faultFields, &faultDelayFields, &faultAbortFields, &rateLimitFields, &httpStatusFields, &tokenBucketFields,
	&hashPolicyFields, &hashHeaderFields, &hashCookieFields, &hashConnectionFields, &hashQueryFields,
	&clusterFields, &edsFields, &breakersFields, &thresholdsFields,
	&outlierFields, &healthCheckFields, &httpCheckFields, &grpcCheckFields, &tcpCheckFields, &statusRangeFields,
	&commonLBFields, &zoneAwareFields, &consistentFields, &ringHashFields, &maglevFields,
	&roundRobinFields, &leastRequestFields, &slowStartFields, &runtimeDoubleFields, &percentFields,
	&httpOptionsFields, &explicitFields, &downstreamFields, &http2Fields, &commonHTTPFields,
	&assignmentFields, &assignmentPolicyFields, &localityEndpointsFields, &localityFields,
	&lbEndpointFields, &endpointFields, &addressFields, &socketAddressFields,
	&runtimeFields, &metadataFields, &configSourceFields, &anyFields, &durationFields, &wrapperFields,
}

// TestTablesMatchDescriptors: every field of the generated messages has its
// row, under its name, read as what it is.
func TestTablesMatchDescriptors(t *testing.T) {
	for _, m := range tables {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(m.name))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		fields := d.(protoreflect.MessageDescriptor).Fields()
		for i := range fields.Len() {
			fd := fields.Get(i)
			row, ok := m.fields[fd.Number()]
			if !ok {
				t.Errorf("%s has no row for field %d, %s", m.name, fd.Number(), fd.Name())
				continue
			}
			if row.name != string(fd.Name()) {
				t.Errorf("%s: field %d is %s, its row says %s", m.name, fd.Number(), fd.Name(), row.name)
			}
			if !readable(row.verdict, fd) {
				t.Errorf("%s.%s: a %v (list %v) cannot be read by verdict %d", m.name, fd.Name(), fd.Kind(), fd.IsList(), row.verdict)
			}
			if fd.Number() >= 128 {
				t.Errorf("%s.%s: number %d is beyond what walk keeps track of", m.name, fd.Name(), fd.Number())
			}
		}
		if len(m.fields) != fields.Len() {
			t.Errorf("%s: %d rows for %d fields", m.name, len(m.fields), fields.Len())
		}
	}
}

func readable(v verdict, fd protoreflect.FieldDescriptor) bool {
	many := fd.IsList() || fd.IsMap()
	number, message := false, false
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.Uint32Kind, protoreflect.Int32Kind, protoreflect.Int64Kind:
		number = true
	case protoreflect.MessageKind, protoreflect.BytesKind:
		message = true
	}
	str := fd.Kind() == protoreflect.StringKind
	switch v {
	case deny, skip:
		return true
	case denyText:
		return str
	case off:
		return !many && (fd.Kind() == protoreflect.BoolKind || fd.Message() != nil && fd.Message().FullName() == "google.protobuf.BoolValue")
	case zero, num:
		return number && !many
	case nums:
		return number && many
	case float:
		return fd.Kind() == protoreflect.DoubleKind && !many
	case text:
		return str && !many
	case texts:
		return str && many
	case msg:
		return message && !many
	case msgs:
		return message && many
	}
	return false
}
