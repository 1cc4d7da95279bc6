// Package graph draws who calls whom: boxes in layers from left to right, and
// curves between them, as an <svg> element for the inside of a page. A drawing
// depends on its input only; all functions are safe for concurrent use.
package graph

import (
	"cmp"
	"slices"
)

// A Node is a box. Its ID is what edges name; Link is where it leads, "" for
// nowhere. Label and the fainter Note below it are cut where they do not fit.
type Node struct {
	ID, Label, Note, Link string
	Bad                   bool
}

// An Edge is a curve. Label is drawn on it; Title is said of it. Weight, 0 to 1, is how thick it is.
type Edge struct {
	From, To string
	Label    string
	Title    string
	Weight   float64
	Bad      bool
}

// place is a node, or a point that a long edge goes through, in a layer.
type place struct {
	node  int // -1: a point of an edge
	layer int
	row   float64 // center, in rows from above
	up    []int   // places in the layer before, by index
	down  []int
}

// maxPlaces bounds the work for a mesh in which everybody calls everybody: from
// there on, edges go straight.
const maxPlaces = 4000

// layout is where everything goes.
type layout struct {
	places []place
	of     []int   // place of each node
	routes [][]int // places that each edge goes through, its ends included
	layers [][]int // places, from above
	back   []bool  // edges that go from right to left
	rows   float64
}

// arrange puts the nodes in layers, so that calls go to the right as far as
// possible, and orders each layer so that few edges cross. Edges that would
// close a circle go back; those that name no node, or one twice, are left out.
func arrange(nodes []Node, edges []Edge) *layout {
	index := map[string]int{}
	for i, n := range nodes {
		index[n.ID] = i
	}
	out := make([][]int, len(nodes)) // edges by their origin
	for i, e := range edges {
		from, ok := index[e.From]
		to, known := index[e.To]
		if ok && known && from != to {
			out[from] = append(out[from], i)
		}
	}
	l := &layout{of: make([]int, len(nodes)), routes: make([][]int, len(edges)), back: circles(nodes, edges, index, out)}
	layer := depths(nodes, edges, index, out, l.back)
	for i := range nodes {
		l.of[i] = l.add(i, layer[i])
	}
	for _, of := range out {
		for _, i := range of {
			l.route(i, index[edges[i].From], index[edges[i].To])
		}
	}
	l.order()
	return l
}

// circles finds the edges that close one, from the callers that nobody calls
// on.
func circles(nodes []Node, edges []Edge, index map[string]int, out [][]int) []bool {
	back := make([]bool, len(edges))
	called := make([]int, len(nodes))
	for _, of := range out {
		for _, i := range of {
			called[index[edges[i].To]]++
		}
	}
	state := make([]int, len(nodes)) // 1: on the way, 2: done
	var visit func(n int)
	visit = func(n int) {
		state[n] = 1
		for _, i := range out[n] {
			switch to := index[edges[i].To]; state[to] {
			case 0:
				visit(to)
			case 1:
				back[i] = true
			}
		}
		state[n] = 2
	}
	for _, rootsOnly := range []bool{true, false} {
		for n := range nodes {
			if state[n] == 0 && (called[n] == 0 || !rootsOnly) {
				visit(n)
			}
		}
	}
	return back
}

// depths is each node's longest way from a caller that nobody calls.
func depths(nodes []Node, edges []Edge, index map[string]int, out [][]int, back []bool) []int {
	depth := make([]int, len(nodes))
	for again := true; again; { // as often as there are layers, at most
		again = false
		for n := range nodes {
			for _, i := range out[n] {
				if to := index[edges[i].To]; !back[i] && depth[to] <= depth[n] {
					depth[to], again = depth[n]+1, true
				}
			}
		}
	}
	return depth
}

func (l *layout) add(node, layer int) int {
	for len(l.layers) <= layer {
		l.layers = append(l.layers, nil)
	}
	l.places = append(l.places, place{node: node, layer: layer})
	id := len(l.places) - 1
	l.layers[layer] = append(l.layers[layer], id)
	return id
}

// route takes an edge through a point in each layer between its ends.
func (l *layout) route(edge, from, to int) {
	a, b := l.of[from], l.of[to]
	if l.back[edge] {
		a, b = b, a
	}
	way := []int{a}
	for at := l.places[a].layer + 1; at < l.places[b].layer && len(l.places) < maxPlaces; at++ {
		way = append(way, l.add(-1, at))
	}
	way = append(way, b)
	for i := 1; i < len(way); i++ {
		l.places[way[i-1]].down = append(l.places[way[i-1]].down, way[i])
		l.places[way[i]].up = append(l.places[way[i]].up, way[i-1])
	}
	if l.back[edge] {
		slices.Reverse(way)
	}
	l.routes[edge] = way
}

// order sorts each layer by the middle of what it is connected with, to and
// fro a few times, and centers the layers.
func (l *layout) order() {
	for _, layer := range l.layers {
		l.rows = max(l.rows, float64(len(layer)))
	}
	for _, layer := range l.layers {
		l.number(layer)
	}
	for sweep := range 6 {
		for i := range l.layers {
			at := i
			if sweep%2 == 1 {
				at = len(l.layers) - 1 - i
			}
			layer := l.layers[at]
			middle := map[int]float64{}
			for _, id := range layer {
				beside := l.places[id].up
				if sweep%2 == 1 {
					beside = l.places[id].down
				}
				middle[id] = l.places[id].row
				if len(beside) > 0 {
					sum := 0.0
					for _, other := range beside {
						sum += l.places[other].row
					}
					middle[id] = sum / float64(len(beside))
				}
			}
			slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })
			l.number(layer)
		}
	}
}

func (l *layout) number(layer []int) {
	for i, id := range layer {
		l.places[id].row = float64(i) + 0.5 + (l.rows-float64(len(layer)))/2
	}
}
