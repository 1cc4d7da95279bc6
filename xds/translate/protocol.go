package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/mesh"
)

// protocolOptions say what HTTP the endpoints speak; of TCP, that is our
// metadata's to say, they are nil. gRPC does not read them.
func protocolOptions(p mesh.Protocol) map[string]*anypb.Any {
	options := new(httpv3.HttpProtocolOptions)
	switch p {
	case mesh.ProtocolAuto:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions:  new(corev3.Http1ProtocolOptions),
				Http2ProtocolOptions: new(corev3.Http2ProtocolOptions),
			},
		}
	case mesh.ProtocolHTTP1:
		options.UpstreamProtocolOptions = explicit(&httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
				HttpProtocolOptions: new(corev3.Http1ProtocolOptions),
			},
		})
	case mesh.ProtocolHTTP2:
		options.UpstreamProtocolOptions = explicit(&httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: new(corev3.Http2ProtocolOptions),
			},
		})
	default:
		return nil
	}
	return map[string]*anypb.Any{string(options.ProtoReflect().Descriptor().FullName()): serialise(options)}
}

func explicit(c *httpv3.HttpProtocolOptions_ExplicitHttpConfig) *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: c}
}
