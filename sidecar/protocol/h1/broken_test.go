package h1

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// An endpoint that dies within its answer: the client sees a broken answer,
// never a complete one.
func TestEndpointDiesWithinAnswer(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for name, answer := range map[string]string{
		"length":         "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234",
		"length, large":  "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + big,
		"no body at all": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
		"chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n01234",
		"between chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
		"last chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n",
		"trailer":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\nA: b\r\n",
		"bad chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n",
		"bad trailer":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
		"bad chunk end":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0123\r\n0\r\n\r\n",
	} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(name+" to "+version, func(t *testing.T) {
				r := newRig(t, options{}, rawOnce(t, answer))
				c := r.dial()
				c.send("GET / HTTP/" + version + "\r\nHost: checkout\r\n\r\n")
				broken(t, c)
				r.stop()
				if n := r.calls(); n != 1 {
					t.Errorf("%d calls recorded", n)
				}
			})
		}
	}
}

// An answer that ends with the connection cannot be told from a cut one by its
// FIN, but by a reset.
func TestEndpointResetsWithinAnswerUntilClose(t *testing.T) {
	read := make(chan struct{})
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		_, _, _ = readRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nsome")
		<-read
		_ = c.SetLinger(0)
	})
	c := newRig(t, options{}, addr).dial()
	c.send(get)
	if _, err := c.r.ReadString('s'); err != nil {
		t.Fatal(err)
	}
	close(read)
	if _, err := io.ReadAll(c.r); err == nil {
		t.Error("a cut answer looks whole")
	}
}

// Answers that are not HTTP/1.1 as we take it.
func TestMalformedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"not HTTP":             "SSH-2.0-OpenSSH_9.2\r\n",
		"HTTP/2":               "HTTP/2 200 OK\r\n\r\n",
		"HTTP/0.9":             "<html>hello</html>\n",
		"no status":            "HTTP/1.1 OK\r\n\r\n",
		"status of two digits": "HTTP/1.1 20 OK\r\n\r\n",
		"status 099":           "HTTP/1.1 099 OK\r\n\r\n",
		"bare LF":              "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"two lengths":          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length and chunked":   "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"gzip":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunked in 1.0":       "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"space before colon":   "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
		"fold":                 "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
		"NUL":                  "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n",
		"too large":            "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 64<<10) + "\r\nContent-Length: 0\r\n\r\n",
		"too many fields":      "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 200) + "Content-Length: 0\r\n\r\n",
		"101 not asked for":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			addr, seen := answering(t, answer)
			c := newRig(t, options{}, addr).dial()
			c.send(get)
			res, b := c.answer("GET")
			if res.StatusCode != 502 || !strings.Contains(res.Header.Get("Proxy-Status"), "error=http_protocol_error") {
				t.Errorf("%d %q %q", res.StatusCode, res.Header.Get("Proxy-Status"), b)
			}
			if n := seen(); n != 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

// An answer that ends within its head, or before it, is tried again.
func TestAnswerEndsWithinHead(t *testing.T) {
	for _, answer := range []string{"", "HTT", "HTTP/1.1 200 OK\r\nContent-Len"} {
		addr, seen := answering(t, answer)
		c := newRig(t, options{}, addr).dial()
		c.send(get)
		if res, b := c.answer("GET"); res.StatusCode != 502 {
			t.Errorf("%q: %d %q", answer, res.StatusCode, b)
		}
		if n := seen(); n != 3 {
			t.Errorf("%q: tried %d times", answer, n)
		}
	}
}
