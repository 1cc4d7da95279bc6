package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultURL is where meshd serves by default.
const DefaultURL = "http://127.0.0.1:15020"

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 64 << 20

// A Client calls one meshd. It is safe for concurrent use; every call ends
// with its context.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client of the meshd at base, such as DefaultURL.
func NewClient(base string) (*Client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("meshd address %q: want a URL such as %s", base, DefaultURL)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // meshd is no service of the mesh
	transport.ResponseHeaderTimeout = 15 * time.Second
	return &Client{base: strings.TrimRight(base, "/"), http: &http.Client{Transport: transport}}, nil
}

// URL is the meshd that is called.
func (c *Client) URL() string { return c.base }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// An Unreachable error means that no answer came.
type Unreachable struct {
	URL string
	Err error
}

func (e *Unreachable) Error() string {
	return fmt.Sprintf("meshd at %s cannot be reached: %v", e.URL, cause(e.Err))
}

func (e *Unreachable) Unwrap() error { return e.Err }

// cause drops the method and URL that net/http puts before an error.
func cause(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// A Refused error is meshd's answer other than 2xx.
type Refused struct {
	Code    int
	Message string
}

func (e *Refused) Error() string { return "meshd: " + e.Message }

// IsNotFound reports meshd's 404.
func IsNotFound(err error) bool {
	r := (*Refused)(nil)
	return errors.As(err, &r) && r.Code == http.StatusNotFound
}

// Status returns the clients, services and instances that meshd knows.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	err := c.call(ctx, http.MethodGet, "/api/v1/status", "", nil, &out)
	return out, err
}

// Metrics returns the last window's figures.
func (c *Client) Metrics(ctx context.Context) (Metrics, error) {
	var out Metrics
	err := c.call(ctx, http.MethodGet, "/api/v1/metrics", "", nil, &out)
	return out, err
}

// Objects returns the objects that match; an empty string matches all.
func (c *Client) Objects(ctx context.Context, kind, namespace, name string) ([]Object, error) {
	query := url.Values{}
	for k, v := range map[string]string{"kind": kind, "namespace": namespace, "name": name} {
		if v != "" {
			query.Set(k, v)
		}
	}
	var out struct {
		Items []Object `json:"items"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/objects?"+query.Encode(), "", nil, &out)
	return out.Items, err
}

// Apply sends YAML or JSON documents. What was refused is in the answer and
// is no error.
func (c *Client) Apply(ctx context.Context, documents []byte) (Applied, error) {
	var out Applied
	err := c.call(ctx, http.MethodPost, "/api/v1/objects", "application/yaml", documents, &out)
	if r := (*Refused)(nil); errors.As(err, &r) && r.Code == http.StatusUnprocessableEntity && len(out.Refused) > 0 {
		err = nil
	}
	return out, err
}

// Delete removes one object that was applied over this interface.
func (c *Client) Delete(ctx context.Context, kind, namespace, name string) error {
	path := "/api/v1/objects/" + url.PathEscape(kind) + "/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
	return c.call(ctx, http.MethodDelete, path, "", nil, nil)
}

// Scale returns how many instances a service should have, and has.
func (c *Client) Scale(ctx context.Context, namespace, service string) (Scale, error) {
	var out Scale
	err := c.call(ctx, http.MethodGet, scalePath(namespace, service), "", nil, &out)
	return out, err
}

// SetScale says how many instances a service should have.
func (c *Client) SetScale(ctx context.Context, namespace, service string, replicas int) error {
	body, err := json.Marshal(map[string]int{"replicas": replicas})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, scalePath(namespace, service), "application/json", body, nil)
}

func scalePath(namespace, service string) string {
	return "/api/v1/scale/" + url.PathEscape(namespace) + "/" + url.PathEscape(service)
}

// Ready asks whether meshd serves.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/readyz", "", nil, nil)
}

// call decodes the answer into out, if that is not nil; also an error's
// answer, as far as it fits.
func (c *Client) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	resp, err := c.send(ctx, method, path, contentType, "application/json", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &Unreachable{URL: c.base, Err: err}
	}
	if resp.StatusCode/100 != 2 {
		if out != nil {
			_ = json.Unmarshal(answer, out) // the refusal is told below in any case
		}
		return refused(resp, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer of %s%s: %w", c.base, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path, contentType, accept string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Unreachable{URL: c.base, Err: err}
	}
	return resp, nil
}

func refused(resp *http.Response, answer []byte) *Refused {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Error == "" {
		said.Error = fmt.Sprintf("%s %s: %s", resp.Request.Method, resp.Request.URL.Path, resp.Status)
	}
	return &Refused{Code: resp.StatusCode, Message: said.Error}
}
