package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// httpCalls make calls over HTTP/1.1, on connections of their own that are
// reused. What they do not forgive is a connection that was closed under a
// request, as net/http would by calling again.
type httpCalls struct {
	load load
	mu   sync.Mutex
	idle []*httpConn
}

// A httpConn is a connection with no call on it, or with one.
type httpConn struct {
	net.Conn
	in *bufio.Reader
}

func newHTTP(l load) *httpCalls { return &httpCalls{load: l} }

func (h *httpCalls) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.idle {
		c.Close()
	}
	h.idle = nil
}

func (h *httpCalls) take(deadline time.Time) (*httpConn, error) {
	h.mu.Lock()
	if n := len(h.idle); n > 0 {
		c := h.idle[n-1]
		h.idle = h.idle[:n-1]
		h.mu.Unlock()
		return c, nil
	}
	h.mu.Unlock()
	c, err := net.DialTimeout("tcp", h.load.Addr, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	return &httpConn{c, bufio.NewReader(c)}, nil
}

// postBody is what a POST carries.
const postBody = "one order, please"

func (h *httpCalls) call(n int, r *record) {
	deadline := time.Now().Add(h.load.Patience)
	c, err := h.take(deadline)
	if err != nil {
		r.Err = cause(err)
		return
	}
	reuse, err := h.exchange(c, n, deadline, r)
	if err != nil {
		r.Err = cause(err)
	}
	if !reuse || err != nil {
		c.Close()
		return
	}
	h.mu.Lock()
	h.idle = append(h.idle, c)
	h.mu.Unlock()
}

func (h *httpCalls) exchange(c *httpConn, n int, deadline time.Time, r *record) (reuse bool, err error) {
	method, lines, body := http.MethodGet, "", ""
	if h.load.Kind == post {
		method, body = http.MethodPost, postBody
		lines = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if h.load.Headers != nil {
		more, class := h.load.Headers(n)
		lines, r.Class = lines+more, class
	}
	c.SetDeadline(deadline)
	request := method + " " + h.load.Path + " HTTP/1.1\r\nHost: " + h.load.Host + "\r\n" + callHeader + ": 1\r\n" + lines + "\r\n" + body
	if _, err := io.WriteString(c, request); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return false, err
	}
	r.Status, r.Instance = resp.StatusCode, resp.Header.Get(instanceHeader)
	if set := resp.Header.Get("Set-Cookie"); set != "" {
		r.Cookie, _, _ = strings.Cut(set, ";")
	}
	switch {
	case c.in.Buffered() > 0:
		return false, errors.New("bytes behind the answer")
	case resp.StatusCode != http.StatusOK:
		r.Err = answered(resp, text)
	}
	return !resp.Close, nil
}

// answered says what an answer that is no success was, and why as far as it
// says so, but no addresses: equal causes count as one.
func answered(resp *http.Response, body []byte) string {
	why := resp.Header.Get("Proxy-Status")
	if _, after, ok := strings.Cut(why, "error="); ok {
		why, _, _ = strings.Cut(after, ";")
	} else if resp.Header.Get(instanceHeader) != "" {
		why = "by the application"
	} else {
		why = string(bytes.TrimSpace(body[:min(len(body), 60)]))
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, why)
}

// cause is an error without addresses.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		if op.Timeout() {
			return op.Op + ": no end in time"
		}
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
