package main

import "fmt"

// A wire is what is spoken on one connection. Nothing of it waits.
type wire interface {
	// request appends a request to out, and names the stream of its answer.
	request(out []byte) ([]byte, uint32, error)
	// take reads what is whole at the start of in and returns how much that
	// was. It tells done of every answer, and appends to out what has to be
	// said in return. After an error the connection is of no more use.
	take(in, out []byte, done func(stream uint32, failure error) error) (n int, _ []byte, err error)
}

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
