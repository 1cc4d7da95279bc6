package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// A call is what is asked on a stream of HTTP/2, and its one good answer.
type call struct {
	fields []hpack.HeaderField
	body   []byte // none: the fields end the stream
	want   string // the answer's body
	grpc   bool   // trailers must follow it, and say grpc-status 0
}

// getCall asks the HTTP/2 backend for theBody.
func getCall(authority string) call {
	return call{want: theBody, fields: []hpack.HeaderField{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: authority},
		{Name: ":path", Value: "/bench?q=1"},
		{Name: "user-agent", Value: "meshd-bench"},
		{Name: "accept", Value: "*/*"},
	}}
}

// echoCall is a unary call of gRPC, which is answered with its own message.
func echoCall(authority string) call {
	return call{want: theFrame, body: []byte(theFrame), grpc: true, fields: []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: echoMethod},
		{Name: ":authority", Value: authority},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "meshd-bench"},
		{Name: "te", Value: "trailers"},
	}}
}

// fields are those of a block that matter here.
type fields struct {
	status, length, contentType, grpcStatus, grpcMessage, proxyStatus string
}

// field is what the decoder calls for each.
func (w *http2Wire) field(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		w.fields.status = f.Value
	case "content-length":
		w.fields.length = f.Value
	case "content-type":
		w.fields.contentType = f.Value
	case "grpc-status":
		w.fields.grpcStatus = f.Value
	case "grpc-message":
		w.fields.grpcMessage = f.Value
	case "proxy-status":
		w.fields.proxyStatus = f.Value
	}
}

// An h2answer is as much as has come of one.
type h2answer struct {
	stream   uint32
	head     bool // its first fields have come
	trailers bool
	n        int   // bytes of its body that have come
	failure  error // the first
}

func (a *h2answer) fail(err error) {
	if a.failure == nil {
		a.failure = err
	}
}

// headers judges fields: the first of the answer or, after them, its trailers.
func (a *h2answer) headers(c *call, f *fields, end bool) {
	switch {
	case a.head && !end:
		a.fail(errors.New("fields after the fields"))
	case a.head && (!c.grpc || f.status != ""):
		a.fail(errors.New("trailers that nobody asked for"))
	case a.head:
		a.trailers = true
		a.status(f)
	case f.status != "200":
		a.fail(fmt.Errorf("answered %.40q, Proxy-Status %.80q", f.status, f.proxyStatus))
	case c.grpc && end:
		a.status(f)
		a.fail(errors.New("grpc-status 0 without a message"))
	case c.grpc && !strings.HasPrefix(f.contentType, "application/grpc"):
		a.fail(fmt.Errorf("content-type %.40q", f.contentType))
	case f.length != "" && f.length != fmt.Sprint(len(c.want)):
		a.fail(fmt.Errorf("content-length %.40q, want %d", f.length, len(c.want)))
	}
	a.head = true
}

func (a *h2answer) status(f *fields) {
	if f.grpcStatus != "0" {
		a.fail(fmt.Errorf("grpc-status %.20q: %.80q", f.grpcStatus, f.grpcMessage))
	}
}

// data judges a piece of the body.
func (a *h2answer) data(c *call, b []byte) {
	switch rest := c.want[min(a.n, len(c.want)):]; {
	case !a.head:
		a.fail(errors.New("DATA before HEADERS"))
	case len(b) > len(rest):
		a.fail(fmt.Errorf("a body of more than %d bytes", len(c.want)))
	case string(b) != rest[:len(b)]:
		a.fail(fmt.Errorf("body %.40q…", b))
	}
	a.n += len(b)
}

// whole judges the answer when its stream has ended.
func (a *h2answer) whole(c *call) {
	switch {
	case a.n != len(c.want):
		a.fail(fmt.Errorf("a body of %d bytes, want %d", a.n, len(c.want)))
	case c.grpc && !a.trailers:
		a.fail(errors.New("no trailers"))
	}
}
