package supervise

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// A Probe says when a child is ready: when TCP accepts a connection, or when
// a GET of HTTP is answered 2xx. The zero Probe is ready once started.
type Probe struct {
	TCP  string // host:port
	HTTP string // URL
	// Every is the pause between tries, 20 ms if zero.
	Every time.Duration
}

const (
	probeEvery   = 20 * time.Millisecond
	probeTimeout = time.Second
)

// wait returns nil once the child is ready, and ctx's error if that comes
// first.
func (p Probe) wait(ctx context.Context) error {
	if p.TCP == "" && p.HTTP == "" {
		return ctx.Err()
	}
	every := p.Every
	if every <= 0 {
		every = probeEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if p.once(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p Probe) once(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if p.HTTP == "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.TCP)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.HTTP, nil)
	if err != nil {
		return false
	}
	// No proxy from the environment and no connection kept: the probe asks
	// this very process.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
	return resp.StatusCode/100 == 2
}
