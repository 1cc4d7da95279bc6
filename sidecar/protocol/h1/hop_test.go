package h1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meshd/meshd/xds/resource"
)

// headBackend answers each request with the head that it got.
func headBackend(t testing.TB, fields string) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			var head strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
				head.WriteString(line)
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", fields, head.Len(), head.String())
		}
	})
}

// What the endpoint gets of a request.
func TestRequestHeadOnItsWay(t *testing.T) {
	forward := func(f resource.Forwarded, via bool) func(*resource.Route) {
		return func(r *resource.Route) { r.Forwarded, r.Via = f, via }
	}
	const trace = "traceparent: *\r\n"
	for _, tc := range []struct {
		name, request, want string
		route               func(*resource.Route)
	}{
		{"plain", "GET /a?b HTTP/1.1\r\nHost: checkout\r\nX-A:  b \r\n\r\n",
			"GET /a?b HTTP/1.1\r\nHost: checkout\r\nX-A:  b \r\n" + trace, nil},
		{"absolute form", "GET http://checkout:8080/a?b HTTP/1.1\r\nHost: other\r\n\r\n",
			"GET /a?b HTTP/1.1\r\nHost: checkout:8080\r\n" + trace, nil},
		{"absolute form without path", "GET HTTP://checkout HTTP/1.1\r\nHost: checkout\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"absolute form with a query alone", "GET http://checkout?q HTTP/1.1\r\nHost: checkout\r\n\r\n",
			"GET /?q HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: checkout\r\n\r\n",
			"OPTIONS * HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"asterisk in absolute form", "OPTIONS http://checkout HTTP/1.1\r\nHost: checkout\r\n\r\n",
			"OPTIONS * HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"hop by hop", "GET / HTTP/1.1\r\nHost: checkout\r\nConnection: keep-alive, X-Hop , x-two\r\nX-Hop: 1\r\nx-Two: 2\r\n" +
			"X-Three: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\nX-Three: 3\r\n" + trace, nil},
		{"framing and routing cannot be nominated", "POST / HTTP/1.1\r\nHost: checkout\r\nConnection: Host, Content-Length\r\nContent-Length: 0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 0\r\n" + trace, nil},
		{"trailers are welcome", "GET / HTTP/1.1\r\nHost: checkout\r\nTE: gzip;q=0.5, trailers\r\nConnection: TE\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace + "Connection: TE\r\nTE: trailers\r\n", nil},
		{"h2c is not passed on", "GET / HTTP/1.1\r\nHost: checkout\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"an upgrade that is not nominated", "GET / HTTP/1.1\r\nHost: checkout\r\nUpgrade: websocket\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"an upgrade in 1.0", "GET / HTTP/1.0\r\nHost: checkout\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"via", "GET / HTTP/1.1\r\nHost: checkout\r\nVia: 1.1 a\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\nVia: 1.1 a\r\n" + trace + "Via: 1.1 meshd\r\n", forward(resource.ForwardedNone, true)},
		{"via 1.0", "GET / HTTP/1.0\r\nHost: checkout\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace + "Via: 1.0 meshd\r\n", forward(resource.ForwardedNone, true)},
		{"forwarded: none", "GET / HTTP/1.1\r\nHost: checkout\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n" + trace, nil},
		{"forwarded: x", "GET / HTTP/1.1\r\nHost: checkout\r\nX-Forwarded-For: 9.9.9.9\r\nx-forwarded-for: 8.8.8.8\r\nX-Forwarded-Proto: https\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace + "X-Forwarded-For: 9.9.9.9, 8.8.8.8, 127.0.0.1\r\nX-Forwarded-Proto: http\r\n", forward(resource.ForwardedX, false)},
		{"forwarded: rfc7239", "GET / HTTP/1.1\r\nHost: checkout:80\r\nForwarded: for=9.9.9.9\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout:80\r\n" + trace + "Forwarded: for=9.9.9.9, for=127.0.0.1;host=\"checkout:80\";proto=http\r\n", forward(resource.ForwardedRFC7239, false)},
		{"two traceparents", "GET / HTTP/1.1\r\nHost: checkout\r\ntraceparent: a\r\nTraceparent: b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
		{"an empty line first", "\r\nGET / HTTP/1.1\r\nHost: checkout\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: checkout\r\n" + trace, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newRig(t, options{route: tc.route}, headBackend(t, "")).dial()
			c.send(tc.request)
			_, got := c.answer("GET")
			lines := strings.SplitAfter(got, "\r\n")
			for i, l := range lines {
				if strings.HasPrefix(l, "traceparent: 00-") && len(l) == len("traceparent: ")+55+2 {
					lines[i] = trace
				}
			}
			if got = strings.Join(lines, ""); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// What the client gets of an answer's head.
func TestAnswerHeadOnItsWay(t *testing.T) {
	addr := headBackend(t, "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nDate: now\r\n")
	c := newRig(t, options{route: func(r *resource.Route) { r.Via = true }}, addr).dial()
	c.send(get)
	res, _ := c.answer("GET")
	delete(res.Header, "Content-Length")
	want := http.Header{"Set-Cookie": {"a", "b"}, "Date": {"now"}, "Via": {"1.1 meshd"}}
	if fmt.Sprint(res.Header) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", res.Header, want)
	}
}

// A head as large and with as many fields as the limit passes, with all that a
// rewrite adds; one more does not.
func TestHeadLimits(t *testing.T) {
	addr := headBackend(t, "")
	r := newRig(t, options{route: func(r *resource.Route) { r.Via, r.Forwarded = true, resource.ForwardedRFC7239 }}, addr)
	start := "GET / HTTP/1.1\r\nHost: checkout\r\n"
	for _, tc := range []struct {
		name, fields string
		status       int
	}{
		{"bytes", "A: " + strings.Repeat("a", 16<<10-len(start)-7) + "\r\n", 200},
		{"too many bytes", "A: " + strings.Repeat("a", 16<<10-len(start)-6) + "\r\n", 431},
		{"fields", strings.Repeat("A: b\r\n", 99), 200},
		{"too many fields", strings.Repeat("A: b\r\n", 100), 431},
	} {
		c := r.dial()
		c.send(start + tc.fields + "\r\n")
		if res, b := c.answer("GET"); res.StatusCode != tc.status || tc.status == 200 && !strings.Contains(b, tc.fields) {
			t.Errorf("%s: %d", tc.name, res.StatusCode)
		}
	}
}

// Names given by a client cannot make the answer's head say something else.
func TestProxyStatusIsClean(t *testing.T) {
	c := newRig(t, options{}, nobody).dial()
	c.send("GET http://[::1%25\"]/ HTTP/1.1\r\nHost: a\r\n\r\n")
	res, _ := c.answer("GET")
	if got := res.Header["Proxy-Status"]; len(got) != 1 || strings.Count(got[0], `"`) != 2 {
		t.Errorf("%q", got)
	}
	if want := []string{"Content-Length", "Content-Type", "Proxy-Status"}; res.StatusCode != 400 {
		var names []string
		for n := range res.Header {
			names = append(names, n)
		}
		slices.Sort(names)
		t.Errorf("%d %v, want 400 %v", res.StatusCode, names, want)
	}
	_, _ = io.Copy(io.Discard, c.r)
}
