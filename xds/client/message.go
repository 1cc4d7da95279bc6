package client

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/xds/resource"
)

// The messages of envoy.service.discovery.v3, written and read by hand for the
// reason that package resource gives. Unknown fields of a response are passed
// over, as protobuf asks: they are about the transport, not about calls.

const resourceWrapper = "type.googleapis.com/envoy.service.discovery.v3.Resource"

// rawCodec carries serialised messages: []byte to send, *[]byte to receive.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("xds client: cannot send %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("xds client: cannot receive %T", v)
	}
	*b = data.Materialize()
	return nil
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendMessage(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

// appendNode writes envoy.config.core.v3.Node.
func appendNode(b []byte, i resource.Instance) []byte {
	b = appendString(b, 1, i.NodeID())
	b = appendString(b, 2, i.Service)
	if md, err := proto.Marshal(i.Metadata()); err == nil { // it holds valid UTF-8 only, or is left out
		b = appendMessage(b, 3, md)
	}
	if i.Region != "" || i.Zone != "" {
		b = appendMessage(b, 4, appendString(appendString(nil, 1, i.Region), 2, i.Zone))
	}
	b = appendString(b, 6, "meshd-sidecar")
	return appendString(b, 7, i.Version)
}

// appendStatus writes google.rpc.Status with code INVALID_ARGUMENT.
func appendStatus(b []byte, n protowire.Number, text string) []byte {
	s := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 3)
	return appendMessage(b, n, appendString(s, 2, text))
}

// A deltaRequest is envoy.service.discovery.v3.DeltaDiscoveryRequest.
type deltaRequest struct {
	node                   []byte
	typeURL                string
	subscribe, unsubscribe []string
	versions               map[string]string // initial_resource_versions
	nonce, refusal         string
}

func (r *deltaRequest) marshal() []byte {
	var b []byte
	if r.node != nil {
		b = appendMessage(b, 1, r.node)
	}
	b = appendString(b, 2, r.typeURL)
	for _, name := range r.subscribe {
		b = appendString(b, 3, name)
	}
	for _, name := range r.unsubscribe {
		b = appendString(b, 4, name)
	}
	for name, version := range r.versions {
		b = appendMessage(b, 5, appendString(appendString(nil, 1, name), 2, version))
	}
	b = appendString(b, 6, r.nonce)
	if r.refusal != "" {
		b = appendStatus(b, 7, r.refusal)
	}
	return b
}

// A sotwRequest is envoy.service.discovery.v3.DiscoveryRequest.
type sotwRequest struct {
	version        string
	node           []byte
	names          []string
	typeURL        string
	nonce, refusal string
}

func (r *sotwRequest) marshal() []byte {
	b := appendString(nil, 1, r.version)
	if r.node != nil {
		b = appendMessage(b, 2, r.node)
	}
	for _, name := range r.names {
		b = appendString(b, 3, name)
	}
	b = appendString(b, 4, r.typeURL)
	b = appendString(b, 5, r.nonce)
	if r.refusal != "" {
		b = appendStatus(b, 6, r.refusal)
	}
	return b
}

// A response is either variant's answer. The bytes alias the message.
type response struct {
	version, typeURL, nonce string
	resources               []received
	removed                 []string
}

// A received resource; typeURL and value are its Any.
type received struct {
	name, version, typeURL string
	value                  []byte
}

var errResponse = errors.New("malformed discovery response")

// eachField calls f for the length-delimited fields of b.
func eachField(b []byte, f func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errResponse
		}
		b = b[size:]
		if typ == protowire.BytesType {
			content, size := protowire.ConsumeBytes(b)
			if size < 0 {
				return errResponse
			}
			if err := f(n, content); err != nil {
				return err
			}
		}
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			return errResponse
		}
		b = b[size:]
	}
	return nil
}

// parseDelta reads DeltaDiscoveryResponse.
func parseDelta(b []byte) (r response, err error) {
	err = eachField(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			r.version = string(v)
		case 2:
			res, err := parseResource(v)
			if err != nil {
				return err
			}
			if res.typeURL != "" { // otherwise a heartbeat of its TTL
				r.resources = append(r.resources, res)
			}
		case 4:
			r.typeURL = string(v)
		case 5:
			r.nonce = string(v)
		case 6:
			r.removed = append(r.removed, string(v))
		}
		return nil
	})
	return r, err
}

// parseSotW reads DiscoveryResponse.
func parseSotW(b []byte) (r response, err error) {
	err = eachField(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			r.version = string(v)
		case 2:
			var res received
			if err := res.any(v); err != nil {
				return err
			}
			if res.typeURL == resourceWrapper {
				wrapped, err := parseResource(res.value)
				if err != nil {
					return err
				}
				res = wrapped
			}
			res.name = resource.NameOf(res.value)
			r.resources = append(r.resources, res)
		case 4:
			r.typeURL = string(v)
		case 5:
			r.nonce = string(v)
		}
		return nil
	})
	return r, err
}

// parseResource reads envoy.service.discovery.v3.Resource.
func parseResource(b []byte) (r received, err error) {
	err = eachField(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			r.version = string(v)
		case 2:
			return r.any(v)
		case 3:
			r.name = string(v)
		}
		return nil
	})
	return r, err
}

// any reads google.protobuf.Any.
func (r *received) any(b []byte) error {
	return eachField(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			r.typeURL = string(v)
		case 2:
			r.value = slices.Clip(v)
		}
		return nil
	})
}
