package main

import (
	"fmt"
	"slices"
	"time"
)

// What can be measured, in the order in which it is.
const (
	protoHTTP1 = "http1"
	protoHTTP2 = "http2"
	protoGRPC  = "grpc"
	protoTCP   = "tcp"
)

// The loads.
const (
	fixed     = "fixed"
	saturated = "saturated"
)

// many is the shape with many streams on few connections.
const many = "c4m16"

// protocols are all of them.
func protocols() []string { return []string{protoHTTP1, protoHTTP2, protoGRPC, protoTCP} }

// A cell is what proxies are compared in.
type cell struct {
	Protocol string `json:"protocol"`
	Shape    string `json:"shape"` // c16m1: 16 connections, one request at a time on each
	Load     string `json:"load"`
}

func (c cell) String() string { return c.Protocol + " " + c.Shape + " " + c.Load }

// A shape is how many connections, and how many requests on each at once.
type shape struct{ connections, streams int }

func (s shape) String() string { return fmt.Sprintf("c%dm%d", s.connections, s.streams) }

// shapesOf are those in which a protocol is measured.
func (o options) shapesOf(protocol string) []shape {
	switch protocol {
	case protoHTTP1:
		return []shape{{o.connections, 1}}
	case protoTCP:
		return []shape{{1, 1}, {4, 1}}
	}
	return []shape{{16, 1}, {4, 16}} // the second is many
}

// cells are what the options choose.
func (o options) cells() []cell {
	var cells []cell
	for _, p := range protocols() {
		for _, s := range o.shapesOf(p) {
			for _, l := range []string{fixed, saturated} {
				if has(o.protocols, p) && has(o.loads, l) && has(o.shapes, s.String()) && (p != protoTCP || l == saturated) {
					cells = append(cells, cell{p, s.String(), l})
				}
			}
		}
	}
	return cells
}

// has says whether name is among those chosen; with none, all are.
func has(chosen []string, name string) bool {
	return len(chosen) == 0 || slices.Contains(chosen, name)
}

// load is the load of a cell. At the fixed rate as many requests are due at
// once as one connection carries, unless a number of them is asked for.
func (o options) load(c cell) load {
	l := load{Protocol: c.Protocol, Duration: o.duration}
	for _, s := range o.shapesOf(c.Protocol) {
		if s.String() == c.Shape {
			l.Connections, l.Streams = s.connections, s.streams
		}
	}
	if c.Load == fixed {
		l.Rate, l.Burst = o.rate, o.burst
		if l.Burst == 0 {
			l.Burst = l.Streams
		}
	}
	return l
}

// takes is how long all of it takes, about: each run starts a proxy and stops
// it besides.
func takes(runs int, each time.Duration) time.Duration {
	return time.Duration(runs) * (each + 800*time.Millisecond)
}
