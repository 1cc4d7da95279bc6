package resource

//lint:file-ignore SA1019 older control planes still set these fields

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func withOptions(t testing.TB, c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions) {
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsName: packed(t, o)}
}

func http2(o *corev3.Http2ProtocolOptions) *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o},
		},
	}}
}

func downstream(o *httpv3.HttpProtocolOptions_UseDownstreamHttpConfig) *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
		UseDownstreamProtocolConfig: o,
	}}
}

// TestProtocol: what the endpoints speak, wherever a Cluster says it.
func TestProtocol(t *testing.T) {
	tuned := &corev3.Http2ProtocolOptions{ // passed over
		MaxConcurrentStreams: wrapperspb.UInt32(100), InitialStreamWindowSize: wrapperspb.UInt32(65536),
		AllowConnect: true, ConnectionKeepalive: &corev3.KeepaliveSettings{},
	}
	for name, c := range map[string]struct {
		change func(*clusterv3.Cluster)
		want   Protocol
	}{
		"nothing":  {func(*clusterv3.Cluster) {}, ProtocolHTTP1},
		"explicit": {func(c *clusterv3.Cluster) { withOptions(t, c, httpOptions(t)) }, ProtocolHTTP1},
		"http2":    {func(c *clusterv3.Cluster) { withOptions(t, c, http2(tuned)) }, ProtocolHTTP2},
		"downstream": {func(c *clusterv3.Cluster) {
			withOptions(t, c, downstream(&httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{Http2ProtocolOptions: tuned}))
		}, ProtocolAuto},
		"downstream, bare": {func(c *clusterv3.Cluster) {
			withOptions(t, c, downstream(&httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{}))
		}, ProtocolAuto},
		"tcp": {func(c *clusterv3.Cluster) { c.Metadata = meshMetadata(t, map[string]any{"protocol": "tcp"}) }, ProtocolTCP},
		"tcp and http2": {func(c *clusterv3.Cluster) {
			c.Metadata = meshMetadata(t, map[string]any{"protocol": "tcp"})
			withOptions(t, c, http2(tuned))
		}, ProtocolTCP},
		"deprecated":       {func(c *clusterv3.Cluster) { c.Http2ProtocolOptions = tuned }, ProtocolHTTP2},
		"deprecated, auto": {func(c *clusterv3.Cluster) { c.ProtocolSelection = clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL }, ProtocolAuto},
		"both": {func(c *clusterv3.Cluster) {
			c.Http2ProtocolOptions = tuned
			withOptions(t, c, httpOptions(t))
		}, ProtocolHTTP1},
	} {
		cl := aCluster()
		c.change(cl)
		got, err := DecodeCluster(packed(t, cl))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.Protocol != c.want {
			t.Errorf("%s: protocol %d, want %d", name, got.Protocol, c.want)
		}
	}
}
