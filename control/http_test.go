package control

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// call makes one request; a header is "Name: value", several are separated by "|".
func call(t *testing.T, m *meshd, method, path, headers, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+m.http+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for h := range strings.SplitSeq(headers, "|") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const fileObjects = `apiVersion: v1
kind: Service
metadata: {name: checkout}
spec: {ports: [{port: 8080}]}
`

const cart = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"cart"},"spec":{"ports":[{"port":80}]}}`

func TestHTTP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(path, []byte(fileObjects), 0o600); err != nil {
		t.Fatal(err)
	}
	withFile := func(c *Config) { c.ConfigPath, c.HTTPHosts = path, []string{"meshd.example"} }
	m := run(t, nil, withFile)
	const (
		asYAML = "Content-Type: application/yaml"
		asJSON = "Content-Type: application/json"
	)
	for _, c := range []struct {
		what, method, path, headers, body string
		code                              int
		want                              string // regular expression
	}{
		{"alive", "GET", "/healthz", "", "", 200, `^ok\n$`},
		{"ready", "GET", "/readyz", "", "", 200, `^ok\n$`},
		{"the page", "GET", "/", "", "", 200, `<html`},
		{"metrics", "GET", "/api/v1/metrics", "", "", 200, `"windowSeconds"`},
		{"no such call", "GET", "/api/v1/nothing", "", "", 404, `"error":"GET /api/v1/nothing: no such call`},

		{"objects of the file", "GET", "/api/v1/objects", "", "", 200, `"items":\[{"kind":"Service","namespace":"default","name":"checkout","source":"file:.*mesh.yaml:1","object":{"apiVersion":"v1"`},
		{"apply", "POST", "/api/v1/objects", asYAML, cart, 200, `{"applied":\[{"kind":"Service","namespace":"default","name":"cart","result":"created"}\],"refused":\[\]}`},
		{"apply again", "POST", "/api/v1/objects", asJSON, cart, 200, `"result":"unchanged"`},
		{"it is there", "GET", "/api/v1/objects?kind=Service&name=cart", "", "", 200, `"source":"api"`},
		{"no other matches", "GET", "/api/v1/objects?namespace=shop", "", "", 200, `"items":\[\]`},
		{"some good, some bad", "POST", "/api/v1/objects", asYAML, strings.Replace(cart, "80", "81", 1) + "\n---\nkind: Nothing\n", 422, `"result":"configured".*"refused":\["request:3: kind: value \\"Nothing\\"`},
		{"a file's", "POST", "/api/v1/objects", asYAML, fileObjects, 422, `Service default/checkout: it comes from file:.*mesh.yaml:1; change it there`},
		{"nothing", "POST", "/api/v1/objects", asYAML, "", 422, `no object`},
		{"status", "GET", "/api/v1/status", "", "", 200, `{"name":"cart","namespace":"default","port":81,"protocol":"auto","source":"api","instances":\[\]}.*"version":"v0.0.0-test"`},
		{"delete", "DELETE", "/api/v1/objects/Service/default/cart", "", "", 200, `{}`},
		{"it is not there", "GET", "/api/v1/objects?name=cart", "", "", 200, `"items":\[\]`},
		{"delete again", "DELETE", "/api/v1/objects/Service/default/cart", "", "", 404, `Service default/cart is not there`},
		{"delete a file's", "DELETE", "/api/v1/objects/Service/default/checkout", "", "", 409, `comes from file:`},

		{"no scale yet", "GET", "/api/v1/scale/default/checkout", "", "", 404, `nobody has said`},
		{"scale", "PUT", "/api/v1/scale/default/checkout", asJSON, `{"replicas":3}`, 200, `{"replicas":3,"ready":0}`},
		{"scaled", "GET", "/api/v1/scale/default/checkout", "", "", 200, `{"replicas":3,"ready":0}`},
		{"scale to too many", "PUT", "/api/v1/scale/default/checkout", asJSON, `{"replicas":1000000}`, 422, `0 to 10000 is accepted`},
		{"scale to no number", "PUT", "/api/v1/scale/default/checkout", asJSON, `{}`, 400, `{\\"replicas\\":N} is accepted`},
		{"scale no name", "PUT", "/api/v1/scale/default/a%2Fb", asJSON, `{"replicas":1}`, 422, `DNS labels`},

		{"a form's type", "PUT", "/api/v1/scale/default/checkout", "Content-Type: text/plain", `{"replicas":3}`, 415, `application/json is accepted`},
		{"another site's page", "PUT", "/api/v1/scale/default/checkout", asJSON + "|Origin: http://evil.example", `{"replicas":3}`, 403, `another site`},
		{"a form of another site", "POST", "/scale/default/checkout", "Sec-Fetch-Site: cross-site", ``, 403, `another site`},
		{"targets", "GET", "/api/v1/targets", "", "", 200, `^\[\]\n$`},
		{"another name for us", "GET", "/api/v1/status", "Host: evil.example:80", "", 403, `Host \\"evil.example:80\\"`},
		{"a configured name", "GET", "/api/v1/status", "Host: meshd.example", "", 200, `services`},
		{"localhost", "GET", "/api/v1/status", "Host: localhost:1", "", 200, `services`},
		{"an address", "GET", "/api/v1/status", "Host: [::1]:1", "", 200, `services`},
		{"too much", "PUT", "/api/v1/scale/default/checkout", asJSON, strings.Repeat(" ", maxSmallBody+1), 413, `larger than 4096`},
	} {
		code, body := call(t, m, c.method, c.path, c.headers, c.body)
		if code != c.code || !regexp.MustCompile(c.want).MatchString(body) {
			t.Errorf("%s: %d %s, want %d %s", c.what, code, body, c.code, c.want)
		}
	}

	// What was said over HTTP is there after a restart.
	call(t, m, "POST", "/api/v1/objects", asYAML, cart)
	m.stop()
	m = run(t, m, withFile)
	if _, body := call(t, m, "GET", "/api/v1/scale/default/checkout", "", ""); !strings.Contains(body, `"replicas":3`) {
		t.Errorf("scale after a restart: %s", body)
	}
	if _, body := call(t, m, "GET", "/api/v1/objects?name=cart", "", ""); !strings.Contains(body, `"source":"api"`) {
		t.Errorf("objects after a restart: %s", body)
	}
}

func TestScaleEvents(t *testing.T) {
	m := run(t, nil, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+m.http+"/api/v1/scale/default/checkout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	put := func(n string) {
		call(t, m, "PUT", "/api/v1/scale/default/checkout", "Content-Type: application/json", `{"replicas":`+n+`}`)
	}
	expect := func(want string) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if data != want {
					t.Fatalf("event %s, want %s", data, want)
				}
				return
			}
		}
		t.Fatalf("the stream ended before %s: %v", want, lines.Err())
	}
	put("2")
	expect(`{"replicas":2,"ready":0}`)
	startSidecar(t, m.xds, checkout(0), watched).await(t, "checkout-0")
	put("2") // no change, no event
	put("5")
	expect(`{"replicas":5,"ready":1}`)
	m.stop() // ends the stream, and does not wait for it
	if lines.Scan(); lines.Scan() {
		t.Errorf("after the end: %q", lines.Text())
	}
}

func TestFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(path, []byte(fileObjects), 0o600); err != nil {
		t.Fatal(err)
	}
	m := run(t, nil, func(c *Config) { c.ConfigPath = path })
	s := startSidecar(t, m.xds, resource.Instance{Namespace: "default"}, "default/cart:80")
	s.await(t, "(removed)")
	if err := os.WriteFile(path, []byte(fileObjects+"---\n"+cart), 0o600); err != nil {
		t.Fatal(err)
	}
	s.await(t)
}

func TestCannotStart(t *testing.T) {
	m := run(t, nil, nil)
	for _, c := range []struct {
		what string
		cfg  Config
		want string
	}{
		{"xDS port in use", Config{XDSAddr: m.xds, HTTPAddr: "127.0.0.1:0"}, "--xds-addr " + m.xds + ": the port is in use"},
		{"HTTP port in use", Config{XDSAddr: "127.0.0.1:0", HTTPAddr: m.http}, "--http-addr " + m.http + ": the port is in use"},
		{"no address", Config{XDSAddr: "nonsense"}, "HOST:PORT of this machine is accepted"},
		{"no configuration", Config{XDSAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", ConfigPath: "/nowhere"}, "--config: configuration: stat /nowhere"},
	} {
		c.cfg.Registry.DataDir, c.cfg.Registry.NoSync = t.TempDir(), true
		if err := Run(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
}
