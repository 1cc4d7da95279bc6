package tracing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// TestEndpointURLs: the common endpoint is one below which signals have their
// paths; one of a signal's own is taken as it is, and without a path it is "/".
func TestEndpointURLs(t *testing.T) {
	for _, c := range []struct {
		common string
		own    vars // by signal
		want   []string
	}{
		{"/", nil, []string{"/v1/logs", "/v1/metrics", "/v1/traces"}},
		{"/mine", nil, []string{"/mine/v1/logs", "/mine/v1/metrics", "/mine/v1/traces"}},
		{"/mine/", vars{"METRICS": "/v1/metrics/", "LOGS": "/"}, []string{"/", "/mine/v1/traces", "/v1/metrics/"}},
		{"", vars{"TRACES": "", "METRICS": "/m", "LOGS": "/l/"}, []string{"/", "/l/", "/m"}},
	} {
		var mu sync.Mutex
		paths := map[string]bool{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			paths[r.URL.Path] = true
			w.Header().Set("Content-Type", "application/x-protobuf")
		}))
		env := vars{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL + c.common, "OTEL_LOGS_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "always_on"}
		for signal, path := range c.own {
			env["OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"] = server.URL + path
		}
		telemetry := setup(t, Options{ServiceName: "s", Producers: []metric.Producer{calls{}}, Getenv: getenv(env)})
		telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, -1), Name: "x"})
		telemetry.Log(&LogRecord{Event: "x"})
		if err := shutdown(t, telemetry); err != nil {
			t.Error(err)
		}
		server.Close()
		if got := slices.Sorted(maps.Keys(paths)); !slices.Equal(got, c.want) {
			t.Errorf("%q and %v: %q, want %q", c.common, c.own, got, c.want)
		}
	}
}

// An authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign writes NAME.pem and NAME.key.
func (a *authority) sign(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// TestMutualTLS: each side shows the other a certificate that it trusts, or
// nothing is exported.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	a.sign("server", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	own, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	config := &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	ca := vars{"OTEL_EXPORTER_OTLP_CERTIFICATE": a.file("ca.pem")}
	client := vars{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": a.file("client.pem"), "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": a.file("client.key")}
	for _, protocol := range []string{protocolHTTP, protocolGRPC} {
		for name, c := range map[string]struct {
			of []vars
			ok bool
		}{"both": {[]vars{ca, client}, true}, "no client certificate": {[]vars{ca}, false}, "an unknown server": {[]vars{client}, false}} {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				backend := newSink()
				env := vars{"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_EXPORT_TIMEOUT": "500"}
				if protocol == protocolHTTP {
					server := httptest.NewUnstartedServer(backend)
					server.TLS = config.Clone()
					server.StartTLS()
					t.Cleanup(server.Close)
					env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = server.URL + "/v1/traces"
				} else {
					env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "https://" + backend.serveGRPC(t, grpc.Creds(credentials.NewTLS(config.Clone())))
				}
				for _, more := range c.of {
					maps.Copy(env, more)
				}
				telemetry := setup(t, Options{ServiceName: "s", Getenv: getenv(env)})
				telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, -1), Name: "x"})
				_ = shutdown(t, telemetry)
				if got := telemetry.Counts("otel"); (got == Counts{Exported: 1}) != c.ok || (got == Counts{Failed: 1}) == c.ok {
					t.Errorf("%+v", got)
				}
				if spans, _ := backend.flat(); (len(spans) == 1) != c.ok {
					t.Errorf("%d spans at the backend", len(spans))
				}
			})
		}
	}
}
