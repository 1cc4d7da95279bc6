package health

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/meshd/meshd/xds/resource"
)

// A probe is how one endpoint is asked, with the connection that it keeps for
// that. One check at a time; close is called after the last one.
type probe struct {
	check func(ctx context.Context) error // nil is well
	close func()
}

// userAgent marks checks in the endpoints' logs.
const userAgent = "meshd-health-check"

func newProbe(cfg Config, cluster string, check *resource.HealthCheck, address string) probe {
	switch check.Kind {
	case resource.HealthCheckHTTP:
		return newHTTP(cfg, cluster, check, address)
	case resource.HealthCheckGRPC:
		return newGRPC(cfg, cluster, check, address)
	default:
		return newTCP(cfg, address)
	}
}

// newTCP checks that a connection is taken (TcpHealthCheck without send and
// receive).
func newTCP(cfg Config, address string) probe {
	return probe{
		check: func(ctx context.Context) error {
			conn, err := cfg.Dial(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		},
		close: func() {},
	}
}

// transport has the one connection of a probe. A check that has failed ends it:
// nothing of it is to be in the way of the next check.
func transport(cfg Config, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext: cfg.Dial, DisableCompression: true, MaxIdleConnsPerHost: 1,
		MaxResponseHeaderBytes: maxHead, Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	return t
}

const (
	maxHead = 64 << 10 // of an answer's head
	maxBody = 64 << 10 // of an answer, for its connection to be used again
)

// newHTTP is HealthCheck.HttpHealthCheck with the method GET.
func newHTTP(cfg Config, cluster string, check *resource.HealthCheck, address string) probe {
	t := transport(cfg, check.HTTP2)
	path := check.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	url, host := "http://"+address+path, hostOf(check.Host, cluster)
	return probe{close: t.CloseIdleConnections, check: func(ctx context.Context) (err error) {
		defer func() {
			if err != nil {
				t.CloseIdleConnections()
			}
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		req.Host = host
		mark(req)
		resp, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.CopyN(io.Discard, resp.Body, maxBody); err != nil && err != io.EOF {
			return fmt.Errorf("status %d, and its content: %w", resp.StatusCode, err)
		}
		if !expected(check, resp.StatusCode) && !shed(resp) {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}}
}

// mark says what a request is. Checks have the highest priority: an instance
// that has too much to do is not one that should be taken out.
func mark(req *http.Request) {
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Meshd-Priority", "critical-plus")
}

// shed reports whether it is a sidecar that has turned a check away, for too
// much to do (docs/design/006-overload.md).
func shed(resp *http.Response) bool {
	s := resp.Header.Get("Proxy-Status")
	return strings.HasPrefix(s, "meshd;") && strings.Contains(s, `details="shed:`)
}

func expected(check *resource.HealthCheck, status int) bool {
	for _, r := range check.Expect {
		if r[0] <= status && status < r[1] {
			return true
		}
	}
	return len(check.Expect) == 0 && status == http.StatusOK
}

// hostOf is the Host of checks: of cluster default/checkout:8080, where nothing
// is said, checkout.default:8080.
func hostOf(host, cluster string) string {
	if host != "" {
		return host
	}
	namespace, service, ok := strings.Cut(cluster, "/")
	if !ok {
		return cluster
	}
	name, port, ok := strings.Cut(service, ":")
	if ok {
		port = ":" + port
	}
	return name + "." + namespace + port
}
