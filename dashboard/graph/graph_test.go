package graph

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func node(id string) Node { return Node{ID: id, Label: id, Note: "10/s", Link: "/services/" + id} }
func edge(from, to string) Edge {
	return Edge{From: from, To: to, Label: "10/s · 4 ms", Title: from + " calls " + to, Weight: 0.5}
}

var graphs = map[string]struct {
	nodes []Node
	edges []Edge
}{
	"empty": {},
	"alone": {nodes: []Node{{ID: "a", Label: "a-very-long-name-of-a-service", Note: "<no> & calls"}}},
	"shop": {
		nodes: []Node{node("cart"), node("db"), node("front"), node("load"), node("pay"), {ID: "mail", Label: "mail", Bad: true, Link: "/m"}},
		edges: []Edge{edge("front", "cart"), edge("front", "pay"), edge("cart", "db"), edge("load", "front"), edge("front", "db"),
			{From: "pay", To: "mail", Label: "1/s", Title: "pay calls mail & fails", Bad: true, Weight: 2}},
	},
	"circle": {
		nodes: []Node{node("a"), node("b"), node("c")},
		edges: []Edge{edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("b", "b"), edge("b", "nobody")},
	},
}

func TestGraphs(t *testing.T) {
	for name, g := range graphs {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := SVG(&out, "Who calls whom", g.nodes, g.edges); err != nil {
				t.Fatal(err)
			}
			for d := xml.NewDecoder(bytes.NewReader(out.Bytes())); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("not well-formed: %v\n%s", err, out.String())
				}
			}
			if strings.Contains(out.String(), "style=") || strings.Contains(out.String(), "NaN") {
				t.Errorf("a style or a number that is none in\n%s", out.String())
			}
			golden := filepath.Join("testdata", name+".svg")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("differs from %s; run the test with -update and look at it", golden)
			}
		})
	}
}

// TestLayers: whoever is called is right of all its callers, unless that would
// close a circle.
func TestLayers(t *testing.T) {
	g := graphs["shop"]
	l := arrange(g.nodes, g.edges)
	at := map[string]int{}
	for i, n := range g.nodes {
		at[n.ID] = l.places[l.of[i]].layer
	}
	for name, want := range map[string]int{"load": 0, "front": 1, "cart": 2, "pay": 2, "db": 3, "mail": 3} {
		if at[name] != want {
			t.Errorf("%s is in layer %d, want %d", name, at[name], want)
		}
	}
	c := graphs["circle"]
	l = arrange(c.nodes, c.edges)
	backs := 0
	for _, b := range l.back {
		if b {
			backs++
		}
	}
	if backs != 1 || l.routes[3] != nil || l.routes[4] != nil {
		t.Errorf("%d edges go back, want 1; routes %v", backs, l.routes)
	}
}

// TestLarge: a mesh of the most services that meshd keeps is drawn in time.
func TestLarge(t *testing.T) {
	var nodes []Node
	var edges []Edge
	for i := range 256 {
		nodes = append(nodes, node(fmt.Sprint("s", i)))
		for j := 1; j <= 8; j++ {
			edges = append(edges, edge(fmt.Sprint("s", i), fmt.Sprint("s", (i*7+j*31)%256)))
		}
	}
	begin := time.Now()
	if err := SVG(io.Discard, "large", nodes, edges); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}
