package sidecar

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// Copies of calls never slow the calls down: beyond so many under way they are
// dropped, and one that takes longer than that is given up.
const (
	maxMirrors    = 128
	mirrorTimeout = 15 * time.Second
	mirrorBody    = 1 << 20 // of an answer that is read, so that the connection can be used again
)

// mirrors sends copies of calls to other clusters and throws their answers
// away (Envoy's request_mirror_policies). It is no part of the request path and
// uses net/http. The Host of a copy ends in "-shadow", as Envoy's does, so that
// whoever gets it can tell.
type mirrors struct {
	http1, http2 *http.Transport
	slots        chan struct{}
	work         sync.WaitGroup
	now          func() int64
}

func newMirrors(dial dialFunc, now func() int64) *mirrors {
	m := &mirrors{slots: make(chan struct{}, maxMirrors), now: now}
	transport := func(http2 bool) *http.Transport {
		var p http.Protocols
		p.SetHTTP1(!http2)
		p.SetUnencryptedHTTP2(http2)
		return &http.Transport{
			DialContext: dial, Protocols: &p, MaxConnsPerHost: maxMirrors, MaxIdleConnsPerHost: 8,
			IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		}
	}
	m.http1, m.http2 = transport(false), transport(true)
	return m
}

// send sends a copy of a call of svc, and returns at once.
func (m *mirrors) send(svc *stats.Service, c call.Mirrored) {
	ep := m.choose(c.Cluster)
	if ep == nil {
		svc.Mirrored(false)
		return
	}
	select {
	case m.slots <- struct{}{}:
	default:
		svc.Mirrored(false)
		return
	}
	svc.Mirrored(true)
	m.work.Go(func() {
		defer func() { <-m.slots }()
		m.deliver(c, ep)
	})
}

// choose draws an endpoint: how well it does with copies is nobody's concern.
func (m *mirrors) choose(c *call.Cluster) *endpoint.Endpoint {
	all := c.Endpoints()
	if len(all) == 0 {
		return nil
	}
	start := rand.IntN(len(all))
	for i := range all {
		ep := all[(start+i)%len(all)]
		if ep.Health == resource.Healthy && ep.Available(m.now()) {
			return ep
		}
	}
	return nil
}

func (m *mirrors) deliver(c call.Mirrored, ep *endpoint.Endpoint) {
	u, err := url.ParseRequestURI(c.Target)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), mirrorTimeout)
	defer cancel()
	u.Scheme, u.Host = "http", ep.Address
	req, err := http.NewRequestWithContext(ctx, c.Method, u.String(), bytes.NewReader(c.Body))
	if err != nil {
		return
	}
	req.Host = shadow(c.Authority)
	for _, f := range c.Header {
		req.Header.Add(f.Name, f.Value)
	}
	t := m.http1
	if c.Cluster.Config().Protocol == resource.ProtocolHTTP2 {
		t = m.http2
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, res.Body, mirrorBody)
	_ = res.Body.Close()
}

// shadow marks an authority.
func shadow(authority string) string {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		return authority + "-shadow"
	}
	return net.JoinHostPort(host+"-shadow", port)
}

// close waits for the copies under way.
func (m *mirrors) close() {
	m.work.Wait()
	m.http1.CloseIdleConnections()
	m.http2.CloseIdleConnections()
}
