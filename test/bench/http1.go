package main

import (
	"errors"
	"fmt"
)

// newWire is a new connection of l, and what is said on it first.
func newWire(l load, out []byte) (wire, []byte, error) {
	switch l.Protocol {
	case protoHTTP1:
		return &http1Wire{req: fmt.Appendf(nil, "GET /bench?q=1 HTTP/1.1\r\nHost: %s\r\nUser-Agent: meshd-bench\r\nAccept: */*\r\n\r\n", l.Host)}, out, nil
	case protoHTTP2:
		return newHTTP2(getCall(l.Host), l.Streams, out)
	case protoGRPC:
		return newHTTP2(echoCall(l.Host), l.Streams, out)
	}
	return nil, out, fmt.Errorf("protocol %q: %s, %s and %s are accepted", l.Protocol, protoHTTP1, protoHTTP2, protoGRPC)
}

// An http1Wire has at most one request in flight.
type http1Wire struct {
	req  []byte
	busy bool
}

func (w *http1Wire) request(out []byte) ([]byte, uint32, error) {
	w.busy = true
	return append(out, w.req...), 0, nil
}

func (w *http1Wire) take(in, out []byte, done func(uint32, error) error) (int, []byte, error) {
	if !w.busy {
		return 0, out, errors.New("bytes that nobody asked for")
	}
	size, err := answer(in)
	switch {
	case err != nil || size == 0:
		return 0, out, err
	case size < len(in):
		return 0, out, errors.New("bytes after the answer")
	}
	w.busy = false
	return size, out, done(0, nil)
}
