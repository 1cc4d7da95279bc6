// Package mesh is the model that every part of meshd shares: the objects that
// a person writes (core Service and EndpointSlice, Gateway API's HTTPRoute and
// GRPCRoute, our TrafficPolicy), the instances that sidecars register, and State, an immutable view of both.
//
// Objects are parsed, defaulted and validated here and nowhere else. The
// package is plain Go: no protobuf, no Kubernetes, no I/O.
// docs/reference/objects.md describes the objects for those who write them.
package mesh

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// The kinds of objects.
const (
	KindService       = "Service"
	KindEndpointSlice = "EndpointSlice"
	KindTrafficPolicy = "TrafficPolicy"
	KindHTTPRoute     = "HTTPRoute"
	KindGRPCRoute     = "GRPCRoute"
)

// A Key names an object. It is comparable.
type Key struct {
	Kind      string
	Namespace string
	Name      string
}

// String is "Kind namespace/name".
func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// Compare orders keys by kind, namespace and name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Name, o.Name))
}

// An Object is a *Service, an *EndpointSlice, a *TrafficPolicy, an *HTTPRoute or
// a *GRPCRoute. Objects are immutable once Parse has returned them.
type Object interface {
	Head() *Meta
}

// Meta is what all objects have.
type Meta struct {
	Key
	Labels map[string]string
	// File and Line are where the object was read: the name given to Parse,
	// and a line from 1.
	File string
	Line int
	// JSON is the object as it was written, defaults not filled in, its fields
	// in alphabetical order. Parse reads it back to an equal object.
	JSON json.RawMessage
}

// Head returns m itself, so that whoever embeds a Meta is an Object.
func (m *Meta) Head() *Meta { return m }

// An Error says what is wrong with an object, or with a document that could
// not be read as one.
type Error struct {
	File string
	Line int // from 1; 0 when the whole file is meant
	// Object is the zero Key when the document could not be read far enough
	// to know which object it is; Kind and Name are set otherwise.
	Object Key
	Field  string // path such as "spec.ports[0].port"; may be empty
	// Problem names the value and what would be accepted.
	Problem string
}

// Error is "file:line: Kind namespace/name: field: problem", without the
// parts that are not known.
func (e *Error) Error() string {
	var parts []string
	switch {
	case e.File != "" && e.Line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d", e.File, e.Line))
	case e.File != "":
		parts = append(parts, e.File)
	}
	if e.Object != (Key{}) {
		parts = append(parts, e.Object.String())
	}
	if e.Field != "" {
		parts = append(parts, e.Field)
	}
	return strings.Join(append(parts, e.Problem), ": ")
}

// A ServiceKey names one port of a service, the unit of routing. It is
// comparable.
type ServiceKey struct {
	Namespace string
	Name      string
	Port      uint16
}

// String is "namespace/name:port", the name of the service's xDS resources.
func (k ServiceKey) String() string { return fmt.Sprintf("%s/%s:%d", k.Namespace, k.Name, k.Port) }

// Compare orders keys by namespace, name and port.
func (k ServiceKey) Compare(o ServiceKey) int {
	return cmp.Or(cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Name, o.Name), cmp.Compare(k.Port, o.Port))
}

// ParseServiceKey reads what ServiceKey.String writes; false if s is not that.
func ParseServiceKey(s string) (ServiceKey, bool) {
	ns, rest, ok := strings.Cut(s, "/")
	if !ok {
		return ServiceKey{}, false
	}
	name, port, ok := strings.Cut(rest, ":")
	if !ok || !isLabel(ns) || !isLabel(name) {
		return ServiceKey{}, false
	}
	n, ok := parsePort(port)
	if !ok {
		return ServiceKey{}, false
	}
	return ServiceKey{Namespace: ns, Name: name, Port: n}, true
}
