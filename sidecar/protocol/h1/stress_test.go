package h1

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// chaotic is an endpoint that now and then resets, closes, fails, answers
// early, in pieces or without a length.
func chaotic(t testing.TB, seed uint64) string {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1))
	dice := func() int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(100)
	}
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			d := dice()
			if d == 0 { // before the body
				_ = c.SetLinger(0)
				return
			}
			if d != 1 { // else: an early answer
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					return
				}
			}
			payload := strings.Repeat(req.URL.Path, 1+dice()*20)
			if req.Method == "HEAD" {
				payload = ""
			}
			switch {
			case d == 2: // within the head
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConte")
				return
			case d == 3 && len(payload) > 1: // within the body
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(payload), payload[:len(payload)/2])
				return
			case d < 8:
				_, err = io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
			case d < 12 && req.Method != "HEAD": // until close
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+payload)
				return
			case d < 16: // closes an idle connection without a word
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(payload), payload)
				return
			case d < 50 && req.Method != "HEAD":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(payload), payload)
				_, err = io.WriteString(c, "0\r\nX-End: 1\r\n\r\n")
			default:
				_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(payload), payload)
			}
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
		}
	})
}

// stressClient makes mixed requests over one connection after the other; some
// are given up at a random point.
func stressClient(t *testing.T, addr string, requests int, rnd *rand.Rand) {
	var c net.Conn
	var r *bufio.Reader
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for i := range requests {
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", addr); err != nil {
				t.Error(err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			r = bufio.NewReader(c)
		}
		drop := func(hard bool) {
			if hard {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			_ = c.Close()
			c = nil
		}
		method := []string{"GET", "HEAD", "POST", "PUT", "DELETE"}[rnd.IntN(5)]
		path := fmt.Sprintf("/%d", i)
		head := method + " " + path + " HTTP/1.1\r\nHost: checkout\r\n"
		body := strings.Repeat("b", rnd.IntN(40000))
		switch {
		case method == "POST":
			head += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
		case method == "PUT":
			head += "Transfer-Encoding: chunked\r\n\r\n"
			body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body)+1, body+"b")
		default:
			head, body = head+"\r\n", ""
		}
		all := head + body
		abort := rnd.IntN(20)
		if abort == 0 { // within the request
			_, _ = io.WriteString(c, all[:rnd.IntN(len(all))])
			drop(rnd.IntN(2) == 0)
			continue
		}
		if _, err := io.WriteString(c, all); err != nil {
			drop(false)
			continue
		}
		if abort == 1 { // before the answer
			drop(rnd.IntN(2) == 0)
			continue
		}
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			drop(false)
			continue
		}
		if abort == 2 { // within the answer
			drop(rnd.IntN(2) == 0)
			continue
		}
		b, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode == 200 && method != "HEAD" && (len(b) == 0 || strings.Trim(string(b), path) != "" || len(b)%len(path) != 0) {
			t.Errorf("%s %s got the wrong answer: %.60q", method, path, b)
		}
		if err != nil || res.Close {
			drop(false)
		}
	}
}

// Whatever clients and endpoints do, nothing is left behind, and every call
// that began has been recorded once.
func TestStress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	clients, requests := 64, 40
	r := newRig(t, options{
		cluster: func(c *resource.Cluster) {
			c.Balancer = "round_robin"
			c.Limits = resource.Limits{Connections: 8, Pending: 40, Requests: 60}
			c.Breaker.OpenFor = 10 * time.Millisecond
		},
		ratio: 0.5,
	}, chaotic(t, seed), chaotic(t, seed+1), chaotic(t, seed+2))
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { stressClient(t, r.addr, requests, rand.New(rand.NewPCG(seed, uint64(i)+10))) })
	}
	wg.Wait()
	eventually(t, "every connection of a client is noticed to be closed", func() bool { return r.srv.Active() == 0 })
	if n := r.route.Service.Active.Value(); n != 0 {
		t.Errorf("%d calls active without a client", n)
	}
	active, pending := r.cluster.InUse()
	if active != 0 || pending != 0 {
		t.Errorf("%d places of requests and %d of waiters taken without a client", active, pending)
	}
	for _, ep := range r.cluster.Endpoints() {
		eventually(t, "the pool is at rest", func() bool {
			r.srv.Sweep(ep, time.Hour)
			s := PoolStats(ep)
			return s.Open == s.Idle && s.Waiting == 0
		})
		if n := ep.Load.InFlight(); n != 0 {
			t.Errorf("%s: %d attempts in flight", ep.Address, n)
		}
	}
	r.stop()
	if begun, ended := r.begun.Load(), r.calls(); begun != int64(ended) {
		t.Errorf("%d calls begun, %d recorded: %v", begun, ended, r.outcomes())
	}
	t.Log(r.outcomes(), r.snapshot().Retries)
}
