package tracing

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/meshd/meshd/internal/swift"
)

// newSpanClient makes the client of an OTLP backend, without dialling, and the
// function that frees its connections. Over gRPC it hands spans over by h.
func newSpanClient(o otlp, h *handover) (otlptrace.Client, func(), error) {
	if o.protocol == protocolGRPC {
		conn, err := o.dial(h.option())
		if err != nil {
			return nil, nil, err
		}
		return otlptracegrpc.NewClient(
			otlptracegrpc.WithGRPCConn(conn),
			otlptracegrpc.WithHeaders(o.headers),
			otlptracegrpc.WithTimeout(o.timeout)), func() { conn.Close() }, nil
	}
	compression := otlptracehttp.NoCompression
	if o.gzip {
		compression = otlptracehttp.GzipCompression
	}
	client, free := o.httpClient()
	return otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(o.endpoint.String()),
		otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithHeaders(o.headers),
		otlptracehttp.WithTimeout(o.timeout),
		otlptracehttp.WithCompression(compression)), free, nil
}

// newMetricExporter makes the exporter for an OTLP backend, without dialling,
// and the function that frees its connections.
func newMetricExporter(ctx context.Context, o otlp) (metric.Exporter, func(), error) {
	if o.protocol == protocolGRPC {
		conn, err := o.dial()
		if err != nil {
			return nil, nil, err
		}
		exporter, err := otlpmetricgrpc.New(ctx,
			otlpmetricgrpc.WithGRPCConn(conn),
			otlpmetricgrpc.WithHeaders(o.headers),
			otlpmetricgrpc.WithTimeout(o.timeout))
		return exporter, func() { conn.Close() }, err
	}
	compression := otlpmetrichttp.NoCompression
	if o.gzip {
		compression = otlpmetrichttp.GzipCompression
	}
	client, free := o.httpClient()
	exporter, err := otlpmetrichttp.New(ctx,
		otlpmetrichttp.WithEndpointURL(o.endpoint.String()),
		otlpmetrichttp.WithHTTPClient(client),
		otlpmetrichttp.WithHeaders(o.headers),
		otlpmetrichttp.WithTimeout(o.timeout),
		otlpmetrichttp.WithCompression(compression))
	return exporter, free, err
}

// A dialFunc opens a TCP connection; nil: as Go does.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// grpc is the option that makes gRPC dial a host so. It takes no proxy from the
// environment then; where that names one and d is nil, it is left to.
func (d dialFunc) grpc(host string) []grpc.DialOption {
	if d == nil {
		if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: host}}); err != nil || proxy != nil {
			return nil
		}
		d = new(net.Dialer).DialContext
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := d(ctx, "tcp", addr)
		return swift.Conn(c), err
	})}
}

func (o otlp) dial(more ...grpc.DialOption) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if o.tls != nil {
		creds = credentials.NewTLS(o.tls)
	}
	options := append(o.dialer.grpc(o.endpoint.Host), grpc.WithTransportCredentials(creds))
	options = append(options, more...)
	if o.gzip {
		// The exporters import the compressor.
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor("gzip")))
	}
	conn, err := grpc.NewClient(o.endpoint.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: OTLP endpoint %s: %w", o.endpoint, err)
	}
	return conn, nil
}

func (o otlp) httpClient() (*http.Client, func()) {
	transport := &http.Transport{
		DialContext:         o.dialer,
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     o.tls,
		TLSHandshakeTimeout: o.timeout,
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        1,
		IdleConnTimeout:     90 * time.Second,
	}
	return &http.Client{Transport: transport, Timeout: o.timeout}, transport.CloseIdleConnections
}
