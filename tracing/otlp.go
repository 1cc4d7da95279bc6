package tracing

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// What OTEL_EXPORTER_OTLP_PROTOCOL may say.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// otlp is where and how one signal goes out. The exporters read these
// variables too; everything is given to them all the same, because they would
// only log what is wrong with a variable, and because the environment must not
// leak into the exporter that speaks to meshd.
type otlp struct {
	protocol string
	endpoint *url.URL // scheme http or https; for gRPC the host and port count
	headers  map[string]string
	timeout  time.Duration
	gzip     bool
	tls      *tls.Config // nil for http
	// dialer is Options.Dial.
	dialer dialFunc
}

func (e *env) otlp(signal, path string) otlp {
	// A signal's own variable wins over the common one.
	names := func(suffix string) []string {
		return []string{"OTEL_EXPORTER_OTLP_" + signal + "_" + suffix, "OTEL_EXPORTER_OTLP_" + suffix}
	}
	o := otlp{
		protocol: e.choice(protocolHTTP, []string{protocolGRPC, protocolHTTP}, names("PROTOCOL")...),
		headers:  e.headers(names("HEADERS")...),
		timeout:  e.timeout(10*time.Second, names("TIMEOUT")...),
		gzip:     e.choice("none", []string{"gzip", "none"}, names("COMPRESSION")...) == "gzip",
	}
	insecure := e.boolean(names("INSECURE")...)
	name, value := e.first(names("ENDPOINT")...)
	own := strings.Contains(name, signal)
	switch {
	case value != "":
	case o.protocol == protocolGRPC:
		value = "http://localhost:4317"
	default:
		value = "http://localhost:4318"
	}
	o.endpoint = e.endpoint(name, value, o.protocol, insecure)
	if o.endpoint == nil {
		return o
	}
	if o.protocol == protocolHTTP && !own {
		o.endpoint = o.endpoint.JoinPath(path)
	}
	if o.endpoint.Scheme == "https" {
		o.tls = e.tls(names("CERTIFICATE"), names("CLIENT_CERTIFICATE"), names("CLIENT_KEY"))
	}
	return o
}

func (e *env) endpoint(name, value, protocol string, insecure bool) *url.URL {
	full := value
	if protocol == protocolGRPC && !strings.Contains(value, "://") {
		full = "https://" + value
		if insecure {
			full = "http://" + value
		}
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		e.refuse(fmt.Errorf("%s=%q: accepted is http://HOST:PORT or https://HOST:PORT, for http/protobuf with an optional path", name, value))
		return nil
	}
	return u
}

// headers reads KEY=VALUE,KEY=VALUE. An error does not show the value, which
// is often a secret.
func (e *env) headers(names ...string) map[string]string {
	headers := map[string]string{}
	name, list := e.first(names...)
	entry := 0
	for pair := range strings.SplitSeq(list, ",") {
		entry++
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || err != nil || !isToken(key) || strings.ContainsAny(value, "\r\n\x00") {
			e.refuse(fmt.Errorf("%s, entry %d: accepted is KEY=VALUE with a percent-encoded value (what it holds is not shown)", name, entry))
			continue
		}
		headers[strings.ToLower(key)] = value
	}
	return headers
}

// isToken says whether s is a field name (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func (e *env) tls(ca, cert, key []string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := e.first(ca...); file != "" {
		pem, err := os.ReadFile(file)
		config.RootCAs = x509.NewCertPool()
		if err != nil {
			e.refuse(fmt.Errorf("%s: %w", name, err))
		} else if !config.RootCAs.AppendCertsFromPEM(pem) {
			e.refuse(fmt.Errorf("%s=%q: accepted is a file with PEM certificates", name, file))
		}
	}
	certName, certFile := e.first(cert...)
	keyName, keyFile := e.first(key...)
	if certFile == "" && keyFile == "" {
		return config
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		e.refuse(fmt.Errorf("%s=%q with %s=%q: %w", certName, certFile, keyName, keyFile, err))
		return config
	}
	config.Certificates = []tls.Certificate{pair}
	return config
}
