package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// askSidecar sends a request to the admin port at addr. What is not 2xx is an
// error with what the sidecar says. The caller closes the body.
func askSidecar(ctx context.Context, method, addr, path string, query url.Values) (*http.Response, error) {
	// No connection is kept, and no proxy used: a sidecar is no service of the mesh.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	u := url.URL{Scheme: "http", Host: addr, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("sidecar %s: %w", addr, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sidecar %s: %w", addr, cause(err))
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 4096)) // the status says enough without it
	return nil, &SidecarRefused{Addr: addr, Code: res.StatusCode, Message: strings.TrimSpace(string(said))}
}

// A SidecarRefused error is a sidecar's answer other than 2xx.
type SidecarRefused struct {
	Addr    string
	Code    int
	Message string
}

func (e *SidecarRefused) Error() string {
	if e.Message == "" {
		e.Message = http.StatusText(e.Code)
	}
	return fmt.Sprintf("sidecar %s: %d: %s", e.Addr, e.Code, e.Message)
}
